"""Local stand-ins for services outside: they speak the real protocol over HTTP, on 127.0.0.1."""
