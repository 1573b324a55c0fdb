// One GET with undici's environment agent, which opens a CONNECT for plain http too.
import { EnvHttpProxyAgent, request } from 'undici';

const agent = new EnvHttpProxyAgent();
const { statusCode, body } = await request(process.argv[2], { dispatcher: agent });
const text = await body.text();
await agent.close();
if (statusCode !== 200) {
  throw new Error(`status ${statusCode}`);
}
process.stdout.write(text);
