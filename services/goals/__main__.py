"""Runs this service alone, from its environment."""

from services.goals.service import build
from services.goals.settings import GoalsSettings
from shared.runtime.alone import run_alone

if __name__ == "__main__":
    run_alone("goals", GoalsSettings, build)
