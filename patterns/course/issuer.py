"""An identity provider of your own: it signs the tokens with which a workload says who it is.

On a platform this is the cloud, the cluster or the CI system. The API knows its public key, and a
federation rule says whose tokens it takes. Needs PyJWT with cryptography. Not for production: there
the platform signs.

Used by chapter 01.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from patterns.fake_api import FederationRule

KID = "key-1"


class Issuer:
    """Signs identity tokens of ten minutes.

    Args:
        audience: for whom they are.
        subject: of which workload they speak.
        clock: seconds since 1970.
    """

    url = "https://issuer.example"

    def __init__(
        self,
        *,
        audience: str = "https://api.anthropic.com",
        subject: str = "desk",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.audience, self.subject, self.clock = audience, subject, clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._count = itertools.count(1)

    def rule(self, **options: Any) -> FederationRule:
        """A rule that takes this issuer's tokens; takes the other fields of `FederationRule`."""
        keys = {KID: self._key.public_key()}
        given = {"issuer": self.url, "keys": keys, "subject": self.subject, **options}
        return FederationRule(**given)

    def token(self, **claims: Any) -> str:
        """A new identity token, signed now; `claims` go before its own."""
        now = int(self.clock())
        own = {"iss": self.url, "sub": self.subject, "aud": self.audience}
        times = {"iat": now, "exp": now + 600, "jti": f"{self.subject}-{next(self._count)}"}
        payload = {**own, **times, **claims}
        return jwt.encode(payload, self._key, algorithm="ES256", headers={"kid": KID})
