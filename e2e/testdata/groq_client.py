"""Makes the calls that it reads from standard input, one JSON object a line, with Groq's official client.

Each call is {"stream": bool, "model": str, "headers": {…}}; for each one line of JSON says what the client made of it.
"""

import json
import sys

import groq


def call(client, request):
    answer = client.chat.completions.with_raw_response.create(
        model=request["model"],
        messages=[{"role": "user", "content": "Say hello."}],
        stream=request["stream"],
        extra_headers=request["headers"],
    )
    completion = answer.parse()
    result = {"status": answer.http_response.status_code, "key": answer.headers.get("x-keywheel-key")}
    if not request["stream"]:
        return result | {"text": completion.choices[0].message.content, "total": completion.usage.total_tokens}
    text, total = "", None
    for chunk in completion:
        text += chunk.choices[0].delta.content or ""
        if chunk.x_groq and chunk.x_groq.usage:
            total = chunk.x_groq.usage.total_tokens
    return result | {"text": text, "total": total}


def main():
    client = groq.Groq(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
    for line in sys.stdin:
        try:
            result = call(client, json.loads(line))
        except groq.APIError as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)


main()
