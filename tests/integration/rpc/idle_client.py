"""Client process that opens a stream and idles until it is killed.

python -m tests.integration.rpc.idle_client
"""

from __future__ import annotations

import asyncio
import sys

from tests.integration.rpc.grpc_client import make_frame_request, open_grpc_client, open_stream


async def main(target: str) -> None:
    async with open_grpc_client(target) as client:
        call = await open_stream(client)
        await call.write(make_frame_request(0))
        await call.read()
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
