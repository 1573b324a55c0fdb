"""One GET with requests, settings from the environment."""
import sys

import requests

answer = requests.get(sys.argv[1])
answer.raise_for_status()
sys.stdout.write(answer.text)
