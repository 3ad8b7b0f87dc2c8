"""How often the doors may be tried: logging in, signing up, asking for a reset mail.

An attempt is counted before the password is looked at and given back when it was right, so many attempts at once
can't slip through. Nobody can lock another person out: beyond the hourly number over all peers, attempts on an account
only have to wait for each other, and peers from which that person has logged in before don't wait at all.
"""

from dataclasses import dataclass

from django.conf import settings

from accounts import limits
from accounts.errors import TooMany

HOUR_SECONDS = 3600
DAY_SECONDS = 86_400
KNOWN_PEER_SECONDS = 30 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    account: str
    peer: str

    def succeeded(self) -> None:
        """Give the attempt back, and remember that this person comes from this peer."""
        seconds = settings.LOGIN_FAILURES_SECONDS
        limits.forgive("login-peer", self.peer, seconds=seconds)
        limits.forgive("login", f"{self.account} {self.peer}", seconds=seconds)
        limits.forgive("login-account", self.account, seconds=HOUR_SECONDS)
        limits.remember("login-known", f"{self.account} {self.peer}", seconds=KNOWN_PEER_SECONDS)


def admit_login(email: str, *, peer: str) -> LoginAttempt:
    """Count one attempt, whether or not there is such an account. Raises TooMany."""
    account = email.strip().lower()
    seconds = settings.LOGIN_FAILURES_SECONDS
    limits.hit("login-peer", peer, limit=settings.LOGIN_FAILURES_PER_PEER, seconds=seconds)
    limits.hit("login", f"{account} {peer}", limit=settings.LOGIN_FAILURES_PER_ACCOUNT_AND_PEER, seconds=seconds)
    if not limits.is_remembered("login-known", f"{account} {peer}"):
        _wait_in_line(account)
    limits.record("login-account", account, seconds=HOUR_SECONDS)
    return LoginAttempt(account, peer)


def admit_sign_up(*, peer: str) -> None:
    """Count one sign-up. Raises TooMany."""
    limits.hit("sign-up", peer, limit=settings.SIGNUPS_PER_HOUR_PER_PEER, seconds=HOUR_SECONDS)


def may_send_reset_mail(email: str, *, peer: str) -> bool:
    """Whether one more reset mail to this address may go out; if so it is counted."""
    account = email.strip().lower()
    try:
        limits.hit("reset-peer", peer, limit=settings.RESET_MAILS_PER_DAY_PER_PEER, seconds=DAY_SECONDS)
        limits.hit("reset-day", account, limit=settings.RESET_MAILS_PER_DAY_PER_ADDRESS, seconds=DAY_SECONDS)
        limits.hit("reset-hour", account, limit=settings.RESET_MAILS_PER_HOUR_PER_ADDRESS, seconds=HOUR_SECONDS)
    except TooMany:
        return False
    return True


def _wait_in_line(account: str) -> None:
    failures = limits.count("login-account", account, seconds=HOUR_SECONDS)
    beyond = failures - settings.LOGIN_FAILURES_PER_HOUR_BEFORE_DELAY
    if beyond >= 0:
        # 1, 2, 4 ... seconds. The exponent is bounded before the number is, or it would be astronomical.
        delay = min(2 ** min(beyond, 16), settings.LOGIN_DELAY_MAX_SECONDS)
        limits.hold("login-line", account, seconds=delay)
