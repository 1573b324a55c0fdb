// A WebSocket server of the `ws` package: plain on one port, TLS on another. Prints both, then serves.
//
//     ws_server.mjs CERT KEY
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { WebSocketServer } from 'ws';

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));

function listen(server) {
  const sockets = new WebSocketServer({
    server,
    perMessageDeflate: { threshold: 0 },
    handleProtocols: (offered) => ['b', 'a'].find((name) => offered.has(name)) ?? false,
  });
  sockets.on('connection', (socket, request) => {
    if (request.url.endsWith('/leave')) return socket.close(4002, 'the server leaves');
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.send('welcome');
  });
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done(server.address().port)));
}

console.log(JSON.stringify({
  h1: await listen(http.createServer()),
  tls: await listen(https.createServer({ cert, key })),
}));
