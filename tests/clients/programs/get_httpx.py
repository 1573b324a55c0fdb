"""One GET with httpx, settings from the environment."""
import sys

import httpx

answer = httpx.get(sys.argv[1])
answer.raise_for_status()
sys.stdout.write(answer.text)
