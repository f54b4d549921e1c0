"""Runs this service alone, from its environment."""

from services.notify.service import build
from services.notify.settings import NotifySettings
from shared.runtime.alone import run_alone

if __name__ == "__main__":
    run_alone("notify", NotifySettings, build)
