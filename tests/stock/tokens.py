"""Router tokens, made the way the Jumpstarter controller makes them."""

import base64
import os
import time
import uuid

import jwt


def new_key() -> str:
    """A shared key in the form the operator stores: 32 random bytes as URL-safe base64 text."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def router_token(key: str, subject: str | None = None) -> str:
    """A token for one tunnel; both of its peers present the same one."""
    now = int(time.time())
    claims = {
        "iss": "https://jumpstarter.dev/stream",
        "aud": ["https://jumpstarter.dev/router"],
        "sub": subject or str(uuid.uuid4()),
        "jti": str(uuid.uuid4()),
        "iat": now,
        "nbf": now,
        "exp": now + 1800,
    }
    return jwt.encode(claims, key, algorithm="HS256")
