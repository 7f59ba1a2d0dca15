"""A client that opens a stream and stays, to be killed: python -m tests.integration.rpc.staying"""

from __future__ import annotations

import asyncio
import sys

from tests.integration.rpc.talking import frame, opened, talking


async def main(target: str) -> None:
    async with talking(target) as client:
        call = await opened(client)
        await call.write(frame(0))
        await call.read()
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
