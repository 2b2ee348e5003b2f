from agents.base_agent import BaseAgent

class CustomAgent(BaseAgent):
    async def on_initialize(self):
        # Initialize your agent
        pass
        
    async def on_task(self, task_type, task_data):
        # Handle tasks
        return {"result": "completed"}
