"""Runs this service alone, from its environment."""

from services.kpi.service import build
from services.kpi.settings import KpiSettings
from shared.runtime.alone import run_alone

if __name__ == "__main__":
    run_alone("kpi", KpiSettings, build)
