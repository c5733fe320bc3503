import asyncio

import peer


async def answer(reader, writer):
    await reader.readline()
    writer.close()


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    print(f"port={server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()

peer.run(main)
