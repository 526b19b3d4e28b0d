"""Sign-in at an identity provider: OpenID Connect, authorization code with PKCE.

Authlib writes the requests and checks the claims, joserfc the signature. Requests are made by
httpx, as everywhere here; Authlib's own client of that name warns that it wants another package.
"""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote_plus

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from service.settings import SignInSettings

_TIMEOUT_SECONDS: Final = 10.0
_FAILURE_SECONDS: Final = 5.0  # how long a provider that cannot be used is not asked again
_LARGEST_ANSWER: Final = 1 << 20
_LEEWAY_SECONDS: Final = 60  # between the clocks of two machines
_SECRET_LENGTH: Final = 64  # PKCE asks for 43 to 128 characters (RFC 7636 4.1)
# a signature that only the provider can make: never none, never one with a shared secret
_ALGORITHMS: Final = frozenset(
    {
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
    }
)
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class ProviderError(Exception):
    """The identity provider cannot be used, or its answer is not valid; one sentence for a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """The beginning of a sign-in: where the browser goes, and what it keeps until it is back."""

    address: str
    state: str
    nonce: str
    code_verifier: str


class OpenIdProvider:
    """The identity provider of the settings.

    Args:
        settings: Where it is, and what Lobar is there.
        clock: Seconds, of a clock that never goes back.
    """

    def __init__(
        self, settings: SignInSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._issuer = settings.openid_issuer or ""
        self._metadata: dict[str, Any] | None = None
        self._failure: tuple[float, str] | None = None
        self._context: ssl.SSLContext | None = None
        self._one_reads = threading.Lock()

    def metadata(self) -> dict[str, Any]:
        """Return what the provider publishes about itself (OpenID Connect Discovery 4).

        It is kept once it was read, and a failure for a few seconds; one thread reads at a time.

        Raises:
            ProviderError: it cannot be reached, or is another provider.
        """
        with self._one_reads:
            if self._metadata is None:
                self._require_no_recent_failure()
                try:
                    self._metadata = self._discovered()
                except ProviderError as exc:
                    self._failure = self._clock(), str(exc)
                    raise
            return self._metadata

    def _require_no_recent_failure(self) -> None:
        if self._failure is not None:
            at, sentence = self._failure
            if self._clock() - at < _FAILURE_SECONDS:
                raise ProviderError(sentence)

    def _discovered(self) -> dict[str, Any]:
        address = get_well_known_url(self._issuer, external=True)
        with self._session() as session:
            found = _json(session.get(address), "The provider's description")
        if found.get("issuer") != self._issuer:
            raise ProviderError(
                f"What {address} describes is not the issuer {self._issuer}: set "
                "sign_in.openid_issuer exactly as the provider writes it."
            )
        missing = [each for each in _ENDPOINTS if not isinstance(found.get(each), str)]
        if missing:
            raise ProviderError(f"{address} lacks {', '.join(missing)}.")
        return found

    def check(self) -> None:
        """Read what a sign-in needs: the provider's description, its keys and the client's secret.

        Raises:
            ProviderError: one of them cannot be read.
        """
        self._secret()
        metadata = self.metadata()
        with self._session() as session:
            _key_set(session, metadata["jwks_uri"])

    def begin(self, callback_url: str) -> Beginning:
        """Return where to send a browser to sign in.

        Raises:
            ProviderError: the provider cannot be reached.
        """
        metadata = self.metadata()
        nonce, verifier = generate_token(_SECRET_LENGTH), generate_token(_SECRET_LENGTH)
        with self._session() as session:
            address, state = self._client(session, callback_url).create_authorization_url(
                metadata["authorization_endpoint"],
                state=generate_token(_SECRET_LENGTH),
                code_verifier=verifier,
                nonce=nonce,
            )
        return Beginning(address=address, state=state, nonce=nonce, code_verifier=verifier)

    def claims(
        self, callback_url: str, *, code: str, code_verifier: str, nonce: str
    ) -> dict[str, Any]:
        """Exchange a code for the claims about the person.

        Claims that the ID token lacks are read from the provider's user information.

        Raises:
            ProviderError: the provider cannot be reached, or its answer is not valid.
        """
        metadata = self.metadata()
        with self._session() as session:
            client = self._client(session, callback_url)
            token = client.fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=code_verifier,
                auth=self._client_authentication(),
                **self._public_client(),
            )
            claims = self._verified(session, token, nonce)
            return {**self._user_information(session, token, claims), **claims}

    def _client(self, session: httpx.Client, callback_url: str) -> Any:  # noqa: ANN401 -- untyped
        return OAuth2Client(
            session,
            client_id=self._settings.openid_client_id,
            scope=self._settings.openid_scopes,
            redirect_uri=callback_url,
            code_challenge_method="S256",
        )

    def _client_authentication(self) -> httpx.Auth:
        secret = self._secret()
        if secret is None:
            return httpx.Auth()
        # both form-encoded before they become a user and a password (RFC 6749 2.3.1)
        name = self._settings.openid_client_id or ""
        return httpx.BasicAuth(quote_plus(name), quote_plus(secret))

    def _public_client(self) -> dict[str, str | None]:
        is_public = self._secret() is None
        return {"client_id": self._settings.openid_client_id} if is_public else {}

    def _secret(self) -> str | None:
        file = self._settings.openid_client_secret_file
        if file is not None:
            try:
                return file.read_text().strip()
            except (OSError, UnicodeDecodeError) as exc:
                raise ProviderError("sign_in.openid_client_secret_file cannot be read.") from exc
        secret = self._settings.openid_client_secret
        return None if secret is None else secret.get_secret_value()

    def _verified(
        self, session: httpx.Client, token: Mapping[str, Any], nonce: str
    ) -> dict[str, Any]:
        """Check signature, issuer, audience, times and nonce (OpenID Connect Core 3.1.3.7)."""
        metadata, id_token = self.metadata(), token.get("id_token")
        if not isinstance(id_token, str):
            raise ProviderError("The identity provider sent no ID token.")
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        registry = JWSRegistry(
            algorithms=sorted(_ALGORITHMS.intersection(map(str, offered))),
            strict_check_header=False,
        )
        keys = _key_set(session, metadata["jwks_uri"])
        decoded = jwt.decode(id_token, key=keys, registry=registry)
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {
                "iss": {"essential": True, "value": self._issuer},
                "aud": {"essential": True, "value": self._settings.openid_client_id},
            },
            {
                "nonce": nonce,
                "client_id": self._settings.openid_client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(leeway=_LEEWAY_SECONDS)
        return dict(claims)

    def _user_information(
        self, session: httpx.Client, token: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Read the claims that the ID token lacks (OpenID Connect Core 5.3)."""
        wanted = {self._settings.openid_name_claim, self._settings.openid_role_claim}
        address = self.metadata().get("userinfo_endpoint")
        if wanted <= claims.keys() or not isinstance(address, str):
            return {}
        bearer = {"authorization": f"Bearer {token.get('access_token')}"}
        found = _json(session.get(address, headers=bearer), "The user information")
        if found.get("sub") != claims["sub"]:
            raise ProviderError("The user information is about another person.")
        return found

    @contextmanager
    def _session(self) -> Iterator[httpx.Client]:
        """Open a client; what goes wrong with its requests becomes a `ProviderError`."""
        try:
            with httpx.Client(
                timeout=_TIMEOUT_SECONDS, verify=self._trust(), trust_env=False
            ) as session:
                yield session
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise ProviderError(f"{self._issuer} does not answer: {type(exc).__name__}.") from exc
        except (AuthlibBaseError, JoseError, ValueError) as exc:
            raise ProviderError(
                f"{self._issuer} gave an answer that is not valid: {type(exc).__name__}."
            ) from exc

    def _trust(self) -> ssl.SSLContext:
        """Return what certificates are checked with; read once, as it takes long."""
        if self._context is not None:
            return self._context
        try:
            self._context = ssl.create_default_context(cafile=self._settings.openid_ca_file)
        except OSError as exc:  # of a file that is missing, or has no certificate
            raise ProviderError("sign_in.openid_ca_file has no certificates.") from exc
        return self._context


def _key_set(session: httpx.Client, address: str) -> KeySet:
    keys: Any = _json(session.get(address), "The provider's key set")
    return KeySet.import_key_set(keys)


def _json(response: httpx.Response, what: str) -> dict[str, Any]:
    if response.status_code != HTTPStatus.OK or len(response.content) > _LARGEST_ANSWER:
        raise ProviderError(f"{what} was answered with {response.status_code}.")
    found = json.loads(response.content)
    if not isinstance(found, dict):
        raise ProviderError(f"{what} is not a JSON object.")
    return found
