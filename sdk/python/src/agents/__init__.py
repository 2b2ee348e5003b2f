"""Where the first documentation has the class of custom agents: `from agents.base_agent import BaseAgent`."""
