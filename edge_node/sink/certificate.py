"""A certificate of our own with its private key, for the broker and for the live page."""

import errno
import ssl


def load_own_certificate(context: ssl.SSLContext, certificate_file: str, key_file: str | None) -> None:
    """Use it in ``context``. Raises ``OSError``, ``ssl.SSLError`` among them, for files that cannot be used."""
    context.load_cert_chain(certificate_file, key_file, password=_nobody_types_one)


def file_trouble(error: OSError) -> str:
    """What is wrong with a file of certificates or keys that could not be used, in words."""
    if isinstance(error, ssl.SSLError):
        return f"not a PEM file that can be used ({error.reason})" if error.reason else "not a PEM file that can be used"
    return error.strerror or str(error)


def _nobody_types_one() -> str:
    """Without this, OpenSSL asks on the terminal, of a service too."""
    raise OSError(errno.EACCES, "the private key is encrypted; store it without a passphrase, readable by the node only")
