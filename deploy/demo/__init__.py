"""The demonstration: the main job on real input, over public HTTP only."""
