// One side of a tunnel on grpc-js; ../peers.py tells it what to do.
'use strict';

const crypto = require('node:crypto');
const fs = require('node:fs');
const readline = require('node:readline');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [endpoint, root, protos] = process.argv.slice(2);
const definition = loader.loadSync('jumpstarter/v1/router.proto', {
  includeDirs: [protos],
  keepCase: true,
  defaults: true, // Otherwise an empty payload is not there.
});
const { RouterService } = grpc.loadPackageDefinition(definition).jumpstarter.v1;
const pattern = Buffer.alloc(4 * 1024 * 1024 + 251, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));
const GZIP = 2;

let client, call, received, wake, ended;

// Resolves when `ready` has become true.
async function until(ready) {
  while (!ready()) await new Promise((resolve) => (wake = resolve));
}

const commands = {
  open({ token, gzip }) {
    client = new RouterService(endpoint, grpc.credentials.createSsl(fs.readFileSync(root)), {
      'grpc.use_local_subchannel_pool': 1,
      ...(gzip ? { 'grpc.default_compression_algorithm': GZIP } : {}),
    });
    const metadata = new grpc.Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    received = [];
    ended = {};
    call = client.Stream(metadata);
    const stream = { ended };
    call.on('data', ((messages) => (message) => { messages.push(message); wake?.(); })(received));
    call.on('status', (status) => { stream.ended.status = status; wake?.(); });
    call.on('end', () => { stream.ended.read = true; wake?.(); });
    call.on('error', () => {}); // Comes with a status, too.
    return {};
  },

  async exchange({ send, seed, receive }) {
    send.forEach(([size, frame_type], i) => {
      const start = (seed + 7 * i) % 251;
      call.write({ payload: pattern.subarray(start, start + size), frame_type });
    });
    const digest = crypto.createHash('sha256');
    for (let i = 0; i < receive; i++) {
      await until(() => received.length > 0 || ended.status);
      if (received.length === 0) throw new Error(`ended after ${i} messages: ${JSON.stringify(ended.status)}`);
      const { payload, frame_type } = received.shift();
      digest.update(`${frame_type} ${payload.length} `).update(payload);
    }
    return { digest: digest.digest('hex') };
  },

  close() {
    call.end();
    return {};
  },

  cancel() {
    call.cancel();
    return {};
  },

  async end() {
    await until(() => ended.status && ended.read);
    client.close();
    return {
      types: received.map((message) => message.frame_type),
      code: ended.status.code,
      message: ended.status.details,
    };
  },
};

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    console.log(JSON.stringify(await commands[command.do](command)));
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
