// Clients of server-sent events by Node: the response head as a line, then its body as it comes.
//
//     sse_client.mjs fetch|http2 HOST PATH PROXY_PORT
//
// `fetch` goes to /r/<route>/ of the proxy, because it lets nobody choose a Host; `http2` to the proxy by :authority.
import http2 from 'node:http2';

const [how, host, path, port] = process.argv.slice(2);
const headers = { accept: 'text/event-stream', 'last-event-id': '41' };

function say(status, type, length) {
  process.stdout.write(`${status} ${type} ${length ?? '-'}\n`);
}

if (how === 'fetch') {
  const response = await fetch(`http://127.0.0.1:${port}/r/${host.split('.')[0]}${path}`, { headers });
  say(response.status, response.headers.get('content-type'), response.headers.get('content-length'));
  for await (const part of response.body) process.stdout.write(part);
} else {
  const connection = http2.connect(`http://127.0.0.1:${port}`);
  const stream = connection.request({ ':authority': host, ':path': path, ...headers });
  stream.on('response', (head) => say(head[':status'], head['content-type'], head['content-length']));
  for await (const part of stream) process.stdout.write(part);
  connection.close();
}
