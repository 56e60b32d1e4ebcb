"""Private keys as PKCS #8 whose numbers are no key's: DER put together by hand, because no library makes them."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

_RSA: Final = bytes.fromhex("06092a864886f70d0101010500")  # rsaEncryption and NULL (RFC 8017, appendix A.1)
_P256: Final = bytes.fromhex("06072a8648ce3d020106082a8648ce3d030107")  # id-ecPublicKey, secp256r1 (RFC 5480)
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _integer(number: int) -> bytes:
    return _tagged(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _pkcs8(algorithm: bytes, private_key: bytes) -> bytes:
    return _tagged(0x30, _integer(0) + _tagged(0x30, algorithm) + _tagged(4, private_key))


def rsa_key(n: int, e: int, d: int, p: int, q: int, dmp1: int, dmq1: int, iqmp: int) -> bytes:
    """An RSAPrivateKey (RFC 8017, appendix A.1.2) of any numbers."""
    numbers = b"".join(_integer(number) for number in (0, n, e, d, p, q, dmp1, dmq1, iqmp))
    return _pkcs8(_RSA, _tagged(0x30, numbers))


def ec_key(d: int) -> bytes:
    """An ECPrivateKey (RFC 5915) on P-256 of any number."""
    return _pkcs8(_P256, _tagged(0x30, _integer(1) + _tagged(4, d.to_bytes(32, "big"))))


def numbers_of(key: rsa.RSAPrivateKey) -> list[int]:
    """What `rsa_key` takes, of a sound key."""
    it = key.private_numbers()
    return [it.public_numbers.n, it.public_numbers.e, it.d, it.p, it.q, it.dmp1, it.dmq1, it.iqmp]


def no_rsa_keys(key: rsa.RSAPrivateKey) -> list[bytes]:
    """What tokens and libraries stumble over, each made of a sound key of 2048 bits by few changes."""
    n, e, d, p, q, *rest = numbers_of(key)
    return [
        rsa_key(n, e, d, 0, q, *rest),
        rsa_key(n, e, d, p - 1, q, *rest),
        rsa_key(n - 1, e, d, p, q, *rest),
        rsa_key(n, e, 0, p, q, *rest),
        rsa_key(n, 0, d, p, q, *rest),
        rsa_key(n, 3, d, p, q, *rest),
        rsa_key(n, 2**299 + 1, d, p, q, *rest),
        rsa_key(2**8999 + 1, e, 3, 3, 5, 1, 1, 1),
        rsa_key(n, e, d, 2**4500 - 1, 3, 2**4499 - 1, 1, 1),
    ]


def no_ec_keys() -> list[bytes]:
    """0 and the order n give the point at infinity: no private keys (SP 800-56A, section 5.6.1.2)."""
    return [ec_key(0), ec_key(P256_ORDER)]


def sound_ec_key() -> bytes:
    """A private key, in the same encoding."""
    return ec_key(ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value)
