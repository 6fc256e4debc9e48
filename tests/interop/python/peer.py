"""One side of a tunnel on grpcio with the stock package's generated code; ../peers.py tells it what to do."""

import hashlib
import json
import queue
import sys
from pathlib import Path

import grpc
from jumpstarter_protocol import router_pb2, router_pb2_grpc

ENDPOINT, ROOT = sys.argv[1], Path(sys.argv[2]).read_bytes()
PATTERN = bytes(range(251)) * (4 * 1024 * 1024 // 251 + 2)


class Peer:
    def open(self, token: str, gzip: bool) -> dict:
        self.channel = grpc.secure_channel(
            ENDPOINT,
            grpc.ssl_channel_credentials(ROOT),
            # Every stream has a connection of its own, as with stock peers.
            options=[("grpc.use_local_subchannel_pool", 1)],
        )
        self.outgoing = queue.SimpleQueue()
        self.call = router_pb2_grpc.RouterServiceStub(self.channel).Stream(
            iter(self.outgoing.get, None),
            metadata=[("authorization", f"Bearer {token}")],
            compression=grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression,
        )
        return {}

    def exchange(self, send: list[tuple[int, int]], seed: int, receive: int) -> dict:
        for i, (size, frame_type) in enumerate(send):
            start = (seed + 7 * i) % 251
            payload = PATTERN[start : start + size]
            self.outgoing.put(router_pb2.StreamRequest(payload=payload, frame_type=frame_type))
        digest = hashlib.sha256()
        for _ in range(receive):
            message = next(self.call)
            digest.update(f"{message.frame_type} {len(message.payload)} ".encode() + message.payload)
        return {"digest": digest.hexdigest()}

    def close(self) -> dict:
        self.outgoing.put(None)
        return {}

    def cancel(self) -> dict:
        self.call.cancel()
        return {}

    def end(self) -> dict:
        types = []
        try:
            types.extend(message.frame_type for message in self.call)
        except grpc.RpcError:
            pass
        status = {"types": types, "code": self.call.code().value[0], "message": self.call.details()}
        self.outgoing.put(None)
        self.channel.close()
        return status


peer = Peer()
for line in sys.stdin:
    command = json.loads(line)
    print(json.dumps(getattr(peer, command.pop("do"))(**command)), flush=True)
