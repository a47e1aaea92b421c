// A certified OpenID provider (oidc-provider) for tests: real flows, real tokens, people of our choosing.
// It prints its port once it listens. POST /test/people, /test/rotate and /test/clock change it while it runs.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";

import Provider from "oidc-provider";

const people = new Map();
let skew = 0;
const now = Date.now;
Date.now = () => now() + skew * 1000;

const makeKey = (kind, options, alg) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }),
  alg, use: "sig", kid: randomUUID(),
});
const makeKeys = () => [
  makeKey("rsa", { modulusLength: 2048 }, "RS256"),
  makeKey("ec", { namedCurve: "P-256" }, "ES256"),
];

const client = (id, method, alg) => ({
  client_id: id, client_secret: `secret-of-${id}`, token_endpoint_auth_method: method,
  id_token_signed_response_alg: alg, redirect_uris: ["http://127.0.0.1/login/sso/callback/x"],
});

function makeProvider(issuer) {
  const provider = new Provider(issuer, {
    clients: [client("acme", "client_secret_basic", "RS256"), client("other", "client_secret_post", "ES256")],
    jwks: { keys: makeKeys() },
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "given_name", "family_name"] },
    // What a person's claims say goes where it says: { userinfo_only: true } keeps the address out of the token.
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    cookies: { keys: ["tests only"] },
    findAccount: (_context, login) => ({
      accountId: login,
      claims: (use) => {
        const { userinfo_only, ...claims } = people.get(login) ?? {};
        const { email, email_verified, ...rest } = claims;
        const told = userinfo_only && use === "id_token" ? rest : claims;
        return { ...told, sub: login };
      },
    }),
  });
  // The company is in our callback's path, and tests make a company each.
  provider.Client.prototype.redirectUriAllowed = (uri) => new URL(uri).pathname.startsWith("/login/sso/callback/");
  provider.on("server_error", (_context, error) => console.error(error));
  return provider.callback();
}

let handle;
const server = createServer(async (request, response) => {
  if (request.method === "POST" && request.url.startsWith("/test/")) {
    const asked = await json(request);
    if (request.url === "/test/people") people.set(asked.login, asked.claims);
    if (request.url === "/test/rotate") handle = makeProvider(issuer);
    if (request.url === "/test/clock") skew = asked.seconds;
    response.end("{}");
  } else {
    handle(request, response);
  }
});
let issuer;
server.listen(0, "127.0.0.1", () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  handle = makeProvider(issuer);
  console.log(server.address().port);
});
process.stdin.on("end", () => process.exit(0)).resume(); // dies with the tests, however they end
