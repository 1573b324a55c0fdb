// Keep-alive clients of a proxy: PORT URL SECONDS. Each makes a GET or a POST after the other; prints what came of them.
import http from "node:http";

const CLIENTS = 8;
const PAUSE = 15;
const [port, url, seconds] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS });
const end = Date.now() + seconds * 1000;
const said = {};
let slowest = 0;

// Problems differ in their id only.
const said_of = (response, text) => `${response.statusCode} ${text.replace(/,"id":"\w*"/, "").slice(0, 300)}`;

const one = (method, body) =>
  new Promise((done) => {
    const headers = { host: new URL(url).host, "content-length": body.length };
    const begun = Date.now();
    const count = (what) => {
      said[what] = (said[what] ?? 0) + 1;
      slowest = Math.max(slowest, Date.now() - begun);
      done();
    };
    const request = http.request({ host: "127.0.0.1", port, path: url, method, headers, agent }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => count(text === `taken ${body}` ? response.statusCode : said_of(response, text)));
      response.on("error", (error) => count(error.code));
    });
    request.on("error", (error) => count(error.code));
    request.end(body);
  });

const client = async (number) => {
  for (let turn = number; Date.now() < end; turn += 1) {
    await (turn % 2 ? one("POST", `order ${turn}`) : one("GET", ""));
    await new Promise((later) => setTimeout(later, PAUSE));
  }
};
await Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number)));
agent.destroy();
console.log(JSON.stringify({ said, slowest }));
