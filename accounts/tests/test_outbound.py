"""Where the server may connect to, form by form."""

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.outbound import STAFF_POLICY, AddressDenied, AddressPolicy, Reach, reach_of

PEOPLE = AddressPolicy()  # for addresses that anyone enters

PUBLIC = [
    "https://api.openai.com/v1",
    "http://example.org",
    "https://example.org:8443/a/b?c=d",
    "HTTPS://EXAMPLE.ORG/",
    "https://example.org./v1",
    "https://xn--bcher-kva.example/",
    "https://a-b_c.example",
    "https://1password.example",
    "http://8.8.8.8/v1",
    "http://1.1.1.1:80",
    "http://100.63.255.255/",
    "http://100.128.0.0/",
    "http://172.15.255.255/",
    "http://172.32.0.0/",
    "http://192.167.255.255/",
    "http://223.255.255.255/",
    "http://[2606:4700:4700::1111]/",
    "http://[2a00:1450::1]:443/v1",
    "http://[::ffff:8.8.8.8]/",
    "http://[64:ff9b::808:808]/",
    "http://[2002:808:808::1]/",
]
PRIVATE = [
    "http://127.0.0.1:11434/v1",
    "http://127.255.255.254/",
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.5:8000/v1",
    "http://100.64.0.1/",
    "http://100.127.255.255/",
    "http://198.18.0.1/",
    "http://[::1]:11434/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[fd12:3456::1]/",
    "http://[fc00::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::192.168.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:c0a8:101::1]/",
    "http://[2606:4700::5efe:10.0.0.1]/",
    "http://[2606:4700::200:5efe:127.0.0.1]/",
]
FORBIDDEN = [
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/",
    "http://0.0.0.0/",
    "http://0.1.2.3/",
    "http://192.0.2.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://239.255.255.255/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[2001::1]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[3fff::1]/",
    "http://[100::1]/",
    "http://[5f00::1]/",
    "http://[64:ff9b:1::1]/",
    "http://[4000::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::a9fe:a9fe]/",
    "http://[::ffff:0:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[2606:4700::5efe:a9fe:a9fe]/",
]
MALFORMED = [
    "",
    "example.org",
    "//example.org/",
    "http:/example.org",
    "http:example.org",
    "http://",
    "http:///path",
    "https://:443/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "ws://example.org/",
    "unix:///run/x.sock",
    "http+unix://%2Frun%2Fx.sock/",
    "http://user@example.org/",
    "http://user:password@example.org/",
    "http://@example.org/",
    "http://example.org@127.0.0.1/",
    "http://example.org\\@127.0.0.1/",
    "http://example.org#@127.0.0.1/",
    "http://example.org:0/",
    "http://example.org:65536/",
    "http://example.org:-1/",
    "http://example.org:http/",
    "http://exa mple.org/",
    " http://example.org/",
    "http://example.org/\n",
    "http://exam\tple.org/",
    "http://example.org/\x00",
    "http://example.org/\x7f",
    "http://bücher.example/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://localhost\u200b/",
    "http://%6c%6f%63alhost/",
    "http://127.0.0.1%2f@example.org/",
    "http://-x.example/",
    "http://x-.example/",
    "http://a..b/",
    "http://.example/",
    "http://" + "a" * 64 + ".example/",
    "http://example.org/" + "a" * 2_000,
    "http://[::1",
    "http://::1/",
    "http://[::1]extra/",
    "http://[127.0.0.1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[v1.x]/",
    "http://[g::1]/",
    # 127.0.0.1 in all the ways that the C library understands
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.0.0.01/",
    "http://127.0.0.1./",
    "http://127.0.0.0x1/",
    "http://0x/",
    "http://0/",
    "http://1.2.3.4.5/",
    "http://256.1.1.1/",
    "http://example.256/",
]


@pytest.mark.parametrize("url", PUBLIC)
@pytest.mark.parametrize("policy", [STAFF_POLICY, PEOPLE])
def test_public_addresses_are_open_to_everyone(policy: AddressPolicy, url: str) -> None:
    assert policy.check_url(url).hostname


@pytest.mark.parametrize("url", PRIVATE)
def test_private_addresses_are_for_staff(url: str) -> None:
    assert STAFF_POLICY.check_url(url).hostname
    with pytest.raises(AddressDenied, match="private"):
        PEOPLE.check_url(url)


@pytest.mark.parametrize("url", FORBIDDEN)
@pytest.mark.parametrize("policy", [STAFF_POLICY, PEOPLE])
def test_forbidden_addresses_are_for_nobody(policy: AddressPolicy, url: str) -> None:
    with pytest.raises(AddressDenied, match="forbidden"):
        policy.check_url(url)


@pytest.mark.parametrize("url", MALFORMED)
@pytest.mark.parametrize("policy", [STAFF_POLICY, PEOPLE])
def test_what_is_no_plain_address_is_refused_in_words(policy: AddressPolicy, url: str) -> None:
    with pytest.raises(AddressDenied) as caught:
        policy.check_url(url)
    assert str(caught.value).endswith(".")
    assert "password@" not in str(caught.value)


def test_a_listed_host_may_be_private_but_not_forbidden() -> None:
    policy = AddressPolicy(allowed_hosts=frozenset({"wiki.internal", "10.0.0.7", "meta.internal"}))
    policy.check_url("http://10.0.0.7/")
    policy.check_address("10.1.2.3", host="Wiki.Internal.")
    for address, host in [
        ("10.1.2.3", "other.internal"),
        ("10.0.0.8", "10.0.0.8"),
        ("169.254.169.254", "meta.internal"),
    ]:
        with pytest.raises(AddressDenied):
            policy.check_address(address, host=host)


@given(st.ip_addresses(v=4))
def test_a_wrapped_address_is_what_it_wraps(inner: ipaddress.IPv4Address) -> None:
    number = int(inner)
    for prefix in ("::ffff:0:0", "64:ff9b::", "::ffff:0:0:0", "2606:4700::5efe:0:0"):
        outer = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number)
        assert reach_of(outer) is reach_of(inner)
    assert reach_of(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))) is reach_of(inner)


@given(st.ip_addresses())
def test_nothing_that_python_calls_special_is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if reach_of(address) is Reach.PUBLIC and address.version == 4:
        assert address.is_global
        assert not address.is_multicast


@given(st.text(max_size=60))
def test_any_text_is_either_fine_or_denied(text: str) -> None:
    for url in (text, f"http://{text}", f"http://{text}/v1"):
        with contextlib.suppress(AddressDenied):
            assert STAFF_POLICY.check_url(url).hostname
