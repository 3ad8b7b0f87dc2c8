"""The least a server between a client and a provider can do: read bytes, write bytes. The measure for the streams.

python -m benchmarks.pass_through PORT PROVIDER_PORT
"""

import asyncio
import sys

import uvloop


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main(port: int, provider_port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        provider_reader, provider_writer = await asyncio.open_connection("127.0.0.1", provider_port)
        await asyncio.gather(copy(reader, provider_writer), copy(provider_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
