// An issuer by others: npm's oidc-provider with client credentials, on the port of its only argument (0: any).
//
// Tokens live five seconds: those for urn:jwt are signed and stand for themselves, those for urn:opaque have to be asked
// about. Its key is fixed, so that it is the same issuer after a restart. GET /fetches says how many tokens were asked for.
import http from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

import Provider from "oidc-provider";

const LIVES = 5;
const KEY = "issuer-key.json";

if (!existsSync(KEY)) {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  writeFileSync(KEY, JSON.stringify({ ...privateKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: "ES256" }));
}

const client = (id, style) => ({
  client_id: id,
  client_secret: `${id}:s%e c+r/e=t`,
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: style,
  id_token_signed_response_alg: "ES256",
});

let fetches = 0;
const server = http.createServer((request, response) => {
  if (request.url === "/fetches") return response.end(String(fetches));
  if (request.url === "/token") fetches += 1;
  return callback(request, response);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
await new Promise((listens) => server.once("listening", listens));

const provider = new Provider(`http://127.0.0.1:${server.address().port}`, {
  clients: [client("a basic:client", "client_secret_basic"), client("a-post-client", "client_secret_post")],
  jwks: { keys: [JSON.parse(readFileSync(KEY))] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        scope: "read write",
        audience: resource,
        accessTokenTTL: LIVES,
        accessTokenFormat: resource === "urn:jwt" ? "jwt" : "opaque",
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
  ttl: { ClientCredentials: LIVES },
});
const callback = provider.callback();
console.log(JSON.stringify({ port: server.address().port }));
