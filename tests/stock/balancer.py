"""A load balancer: passes each connection on to the next of several ports. `python -m stock.balancer <port> <port>...`"""

import asyncio
import itertools
import sys


async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(2**18):
        sink.write(chunk)
        await sink.drain()


async def serve(port: int, targets: list[int]) -> None:
    turn = itertools.cycle(targets)

    async def take_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for target in itertools.islice(turn, len(targets)):
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
                break
            except OSError:
                pass
        else:
            return writer.transport.abort()
        ways = [asyncio.create_task(pass_on(reader, far_writer)), asyncio.create_task(pass_on(far_reader, writer))]
        # Nobody here half-closes a connection, so the first end is the end.
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()
        far_writer.close()

    server = await asyncio.start_server(take_in, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
