"""An agent whose tasks say in a file that they have begun, and wait for another: `python -m flotilla agent.py --url URL`."""

import asyncio
import os
from pathlib import Path

from agents.base_agent import BaseAgent


class Waiter(BaseAgent):
    lease_seconds = 1.5

    async def on_task(self, task_type, task_data):
        folder = Path(task_data["folder"])
        with (folder / "begun").open("a") as file:
            file.write(f"{os.getpid()} {self.task.attempt} {self.task.effect_key}\n")
        while not (folder / "go").exists():
            await asyncio.sleep(0.02)
        return {"attempt": self.task.attempt}
