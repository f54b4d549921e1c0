"""Runs this service alone, from its environment."""

from services.pipeline.service import build
from services.pipeline.settings import PipelineSettings
from shared.runtime.alone import run_alone

if __name__ == "__main__":
    run_alone("pipeline", PipelineSettings, build)
