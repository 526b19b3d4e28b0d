// An OpenID provider of the tests: panva's oidc-provider with its own sign-in pages.
// Arguments: the port, the address of the client's call-back, and the people as JSON.
import Provider from "oidc-provider";

const [port, callback, people] = process.argv.slice(2);
const known = JSON.parse(people);
const clients = [
  { client_id: "lobar", client_secret: process.env.CLIENT_SECRET },
  { client_id: "lobar-public", token_endpoint_auth_method: "none" },
];
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: clients.map((each) => ({ ...each, redirect_uris: [callback] })),
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"], email: ["email"] },
  // some providers put the claims into the ID token, others only into the user information
  conformIdTokenClaims: process.env.CLAIMS_IN === "user-information",
  cookies: { keys: ["of the tests"] },
  findAccount: (_context, id) =>
    known[id] && { accountId: id, claims: () => ({ sub: id, ...known[id] }) },
});
provider.on("server_error", (_context, error) => console.error(error));
provider.listen(Number(port), "127.0.0.1");
