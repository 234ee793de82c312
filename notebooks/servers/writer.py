"""A server whose one tool asks Claude and passes the words on while they are being written."""

from anthropic import AnthropicError, AsyncAnthropic
from anthropic.types import MessageParam
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError


def build_writer(client: AsyncAnthropic, *, model: str) -> MCPServer:
    """The server; it asks with `client`, on the server's account and not on the caller's."""
    server = MCPServer("writer", log_level="ERROR")

    @server.tool()
    async def write(topic: str, ctx: Context) -> str:
        """Write two sentences on a topic; each piece is reported as progress."""
        pieces: list[str] = []
        question: MessageParam = {"role": "user", "content": f"Two short sentences on {topic}."}
        asking = client.messages.stream(model=model, max_tokens=2_000, messages=[question])
        try:
            async with asking as stream:
                async for piece in stream.text_stream:
                    pieces.append(piece)
                    await ctx.report_progress(len(pieces), message=piece)
        except AnthropicError as error:  # for the caller to read, not for the server's log
            raise ToolError(str(error)) from error
        return "".join(pieces)

    return server
