"""Certificates for tests, made with openssl: an authority, and what it signs."""
import os

from lab import bounded

NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def authority(folder, name="ca"):
    """NAME.pem and NAME.key."""
    path = lambda end: os.path.join(folder, f"{name}.{end}")
    bounded(["openssl", "req", "-x509", *NEW, "-keyout", path("key"), "-out", path("pem"), "-subj", f"/CN={name}", "-days", "2"], check=True)
    os.chmod(path("pem"), 0o644)


def issue(folder, name, host="localhost", by="ca"):
    """NAME.pem and NAME.key, readable by everybody, for a host."""
    path = lambda end, name=name: os.path.join(folder, f"{name}.{end}")
    with open(path("names"), "w", encoding="utf-8") as out:
        out.write(f"subjectAltName=DNS:{host}\n")
    bounded(["openssl", "req", *NEW, "-keyout", path("key"), "-out", path("csr"), "-subj", f"/CN={name}"], check=True)
    bounded(["openssl", "x509", "-req", "-in", path("csr"), "-CA", path("pem", by), "-CAkey", path("key", by), "-CAcreateserial", "-out", path("pem"),
             "-days", "2", "-extfile", path("names")], check=True)
    for end in ("key", "pem"):
        os.chmod(path(end), 0o644)
