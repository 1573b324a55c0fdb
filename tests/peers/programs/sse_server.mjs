// A server of server-sent events by Node's own http and http2: h1, h2c, and both over TLS. Prints the ports.
//
//     sse_server.mjs CERT KEY
//
// /events/ID sends an event, and the next one only when /next/ID was asked on the control port: whoever holds an event
// back never sees the second. /state/ID tells what became of it.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));
const streams = new Map();

function events(request, response) {
  const id = request.url.split('/').pop();
  const state = { sent: 0, open: true, accept: request.headers.accept, last: request.headers['last-event-id'] };
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  state.next = () => {
    state.sent += 1;
    response.write(`id: ${state.sent}\nevent: tick\ndata: ${id} ${state.sent}\n\n`);
  };
  state.end = () => response.end();
  response.on('close', () => { state.open = false; });
  streams.set(id, state);
  state.next();
}

function control(request, response) {
  const [, verb, id] = request.url.split('/');
  const state = streams.get(id);
  if (verb === 'next') state.next();
  if (verb === 'end') state.end();
  response.end(JSON.stringify(state ?? {}));
}

const listen = (server) => new Promise((done) => {
  server.listen(0, '127.0.0.1', () => done(server.address().port));
});

console.log(JSON.stringify({
  h1: await listen(http.createServer(events)),
  h2c: await listen(http2.createServer(events)),
  h1tls: await listen(https.createServer({ cert, key }, events)),
  h2tls: await listen(http2.createSecureServer({ cert, key }, events)),
  control: await listen(http.createServer(control)),
}));
