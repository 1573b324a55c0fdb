"""One GET with the standard library, settings from the environment."""
import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1]) as answer:
    sys.stdout.write(answer.read().decode())
