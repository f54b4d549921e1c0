"""How fast the main job is: ratios to raw loops that do the same durable work, on one machine, in one run."""
