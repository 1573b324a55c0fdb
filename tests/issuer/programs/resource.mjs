// A resource that takes only tokens of the issuer on the port of its only argument, and none a moment too late.
//
// /jwt/... verifies them with jose, no leeway; /opaque/... asks the issuer about each. POST /revoke: what was seen so far is
// refused from now on. GET /account says how many were refused, and why.
import http from "node:http";

import { createRemoteJWKSet, jwtVerify } from "jose";

const issuer = `http://127.0.0.1:${process.argv[2]}`;
const { jwks_uri } = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
const keys = createRemoteJWKSet(new URL(jwks_uri), { cacheMaxAge: Infinity, cooldownDuration: 0 });
const account = { taken: 0, refused: {} };
const seen = new Set();
const revoked = new Set();

const looks = {
  jwt: async (token) => {
    const { payload } = await jwtVerify(token, keys, { issuer, audience: "urn:jwt", clockTolerance: 0 });
    if (payload.scope !== "read write") throw new Error(`scope ${payload.scope}`);
  },
  opaque: async (token) => {
    const basic = Buffer.from("a+basic%3Aclient:a+basic%3Aclient%3As%25e+c%2Br%2Fe%3Dt").toString("base64");
    const headers = { authorization: `Basic ${basic}` };
    const answer = await fetch(`${issuer}/token/introspection`, {
      method: "POST", headers, body: new URLSearchParams({ token }),
    });
    const { active, aud } = await answer.json();
    if (!active || aud !== "urn:opaque") throw new Error("not active");
  },
};

const server = http.createServer(async (request, response) => {
  const kind = request.url.split("/")[1];
  if (kind === "account") return response.end(JSON.stringify(account));
  if (kind === "revoke") {
    seen.forEach((token) => revoked.add(token));
    return response.end();
  }
  const token = request.headers.authorization?.match(/^Bearer (.+)$/)?.[1];
  let body = "";
  for await (const chunk of request) body += chunk;
  try {
    if (revoked.has(token)) throw new Error("revoked");
    await looks[kind](token);
    seen.add(token);
    account.taken += 1;
    response.end(`taken ${body}`);
  } catch (error) {
    const why = error.code ?? error.message;
    account.refused[why] = (account.refused[why] ?? 0) + 1;
    response.writeHead(401, { "www-authenticate": 'Bearer error="invalid_token"' });
    response.end("refused");
  }
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
