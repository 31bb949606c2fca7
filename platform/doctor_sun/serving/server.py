"""The server of a replica: `ray.serve.llm`'s own, without its telemetry."""

from ray.llm._internal.serve.core.server.llm_server import LLMServer


class Server(LLMServer):
    """What a hospital serves is nobody else's to count, nor has a replica to wait for the actor
    that would count it."""

    async def _start_engine(self) -> None:
        assert self.engine is not None
        await self.engine.start()
