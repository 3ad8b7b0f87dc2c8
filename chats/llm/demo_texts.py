"""What the demo says: the first words every new person reads. Short, friendly, true."""

COMMANDS = """\
- **markdown** shows headings, lists, a table, code and more
- **long answer** writes for a while: reload the page in the middle, or press Stop
- **slow** thinks for twelve seconds before its first word
- **failure** breaks off in the middle of a sentence, so you see what happens then
- **tools** lists the tools you let me call, and how
- **quote** followed by anything says it back to you
- **help** shows this list"""

GREETING = f"""\
Hello, and welcome to Parley!

I should be honest right away: **I am not an AI.** I am a small demo that is built in, so that you can try everything \
before a real model is connected. I answer from a script, I need no network, and I cost nothing.

Send me one of these words:

{COMMANDS}

Or ask me *what Parley is*, *how staff add a model*, or *how the API works*.
"""

PARLEY = f"""\
**Parley** is a chat platform that your team runs itself. You talk to many AI models in one place, and your \
conversations stay on your own server.

- **You** ask, and watch the answer appear. Close the page or lose the network: the server goes on writing, and you \
find the whole answer when you come back.
- **Staff** decide which models there are, who may use them and what they cost.
- **Programs** use the same chats through an API.

I am only the demo that comes with it: a script, not an AI. Try me with one of these:

{COMMANDS}
"""

STAFF = """\
Connecting a real model takes a staff member about two minutes in the [admin](/admin/):

1. Under **Providers**, add one. Choose *OpenAI-compatible server*, enter the base URL and, if the server wants one, \
the API key. It is stored encrypted and never shown again.
2. Tick the provider in the list and run **Test connection**. If something is wrong, you read it in the provider's own \
words.
3. Run **Import models from this provider**. The models arrive switched off.
4. Under **AI models**, add a price and tick *enabled*. From then on the model is in everyone's picker.

| Server | Base URL |
|---|---|
| OpenAI | `https://api.openai.com/v1` |
| Ollama on this machine | `http://localhost:11434/v1` |
| vLLM, LM Studio, llama.cpp and others | their address, ending in `/v1` |

When real models are there, staff can switch me off in the same list. I won't mind.
"""

API = """\
Everything you do here, a program can do too. Create an API key in your settings (it is shown once), and then:

```sh
# a new chat
curl -X POST "$PARLEY/api/v1/chats/" \\
  -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
  -d '{"title": "From the API"}'

# ask something in it, and watch the answer stream
curl -N -X POST "$PARLEY/api/v1/chats/$CHAT/messages/" \\
  -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
  -H "Accept: text/event-stream" \\
  -d '{"content": "Hello!"}'
```

`$PARLEY` is the address of this server, `$CHAT` the `id` from the first answer. The chat also appears in your sidebar \
here. Everything else is at [/api/v1/docs/](/api/v1/docs/), unless the people who run this server have switched it off.
There is a WebSocket as well, the one this page uses.
"""

THANKS = """\
You are welcome! I am only a script, but a polite one. Send **help** to see what else I can do.
"""

HELP = f"""\
I am the demo: a script, not an AI. These are all my tricks:

{COMMANDS}

You can also ask me *what Parley is*, *how staff add a model*, or *how the API works*.
"""

TOOL_RESULTS = """\
The answer of the tool:

{results}

A real model would go on from here. I only pass it on.
"""

TOOLS = """\
You let me call these tools:

{tools}

Say *call* and a name, with a JSON object if it needs arguments: `call calculator {{"expression": "6*7"}}`. What only \
reads runs at once; for the rest you are asked first.
"""

UNKNOWN_TOOL = """\
You do not let me call a tool named `{name}` here: there is none, or it is denied, switched off, or not chosen for \
this chat. (To search documents, there must be one.) Say *tools* to see which there are.
"""

NO_TOOLS = """\
There are no tools for me here. Add a server of tools under *Tools* in your menu, or switch tools on below the box.
"""

QUOTE = """\
You asked me to say this:

{quote}

There it is, word for word. That is as much as a script can do with it.
"""

UNKNOWN = f"""\
You said:

{{quote}}

A real model would answer that. I can't: I am the **demo** that comes with Parley, a script that understands a few \
words and makes nothing up. Your message and this answer are saved like any others.

What I can do:

{COMMANDS}

For real answers, a staff member connects a model: ask me *how staff add a model*.
"""

NOT_MINE = """\
 …

I can't go on from here. I am the **demo**, a script, and what stands above is not from it. Ask again, or let a real \
model answer.
"""

SLOW = """\
Thank you for waiting! That was a pause before the first word, as long as a big model under load may take.

While you waited, the page counted the seconds, and you could have stopped me, written in another chat, or closed the \
page. The answer belongs to the server, so it would have come anyway.
"""

FAILURE = """\
You asked for a failure, so I will write a few sentences as if nothing were wrong and then break off without warning, \
the way a provider does when its server dies. Watch what happens to the text: everything that has arrived stays, and \
below it you find one sentence about the cause and a button to try again. And just as it was getting interesting, \
the connection to the provider suddenly goes away and nobody will ever know how this sentence was meant to end, \
because the second half of this text is never sent to anybody, and if you can read it, the demo of a failure has failed.
"""

LONG = """\
## How an answer reaches you

This is a long answer, so there is time to try something. **Reload the page now**, in the middle of this sentence. \
Everything written so far will be there, and the rest will go on where it was. Open the chat in a second tab, if you \
like: both will show the same words at the same moment.

### It starts with a promise

When you press Send, the server first writes your message down, together with an empty answer. Only then does it tell \
your browser that it has them. From that moment nothing you wrote can get lost: not when the network drops, not when \
your laptop goes to sleep, not even when the server itself is restarted.

### The answer belongs to the server

Many chat programs tie the answer to the page: close the page and the answer stops, somewhere, half paid for. Here the \
server asks the model, and your browser merely watches. Every piece of text gets a number. A browser that was away for \
a while says which number it saw last, and receives what came after it, each piece exactly once and in order.

### Words come in small steps

A model writes in *tokens*, pieces of words. I am sending you about fifty of them a second, which is a little faster \
than people read. The first one is passed on at once, so that you see quickly that something is happening. The ones \
after it are gathered for a twentieth of a second, because a screen that changes a thousand times a second helps \
nobody and warms the room.

### Stopping means stopping

If you press Stop, the connection to the model is closed within a second, so it does not go on writing for nothing. \
What you have read so far is kept, and it is counted as what it is: a part of an answer. Then you can edit your \
question, ask another model, or leave it at that.

### What it costs is no secret

Every answer is booked with the tokens it used and the price that held when it began. If staff change a price \
tomorrow, what was billed today stays as it was. And if a price is not known, Parley says so instead of pretending \
that it was free. I, by the way, really am free: I am a script of a few hundred lines that lives inside the server.

### When something goes wrong

Servers get busy, keys expire, cables are pulled. Then you read one sentence that says what happened and one button \
that does the next sensible thing. Your own text is always safe. Send **failure** if you want to see it.

That was the long answer. If you reloaded in the middle and still got here without missing or repeating a word, \
everything works as it should.
"""

MARKDOWN = """\
# A tour of Markdown

Text can be **bold**, *italic*, ~~struck through~~ or `code`. A [link](https://commonmark.org/help/) says where it \
leads before you follow it.

## Lists

1. Ask a question
2. Watch the answer
   - reload if you like
   - stop if you have seen enough
3. Copy what you need

## A table

| Planet | Moons | Day, in hours |
|:-------|------:|--------------:|
| Earth  |     1 |          23.9 |
| Mars   |     2 |          24.6 |
| Saturn |   274 |          10.7 |

## Code

```python
def fibonacci(n: int) -> int:
    \"\"\"The n-th Fibonacci number.\"\"\"
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
```

```sql
SELECT model, SUM(cost) AS spent
FROM usage
WHERE created_at >= '2026-01-01'
GROUP BY model
ORDER BY spent DESC;
```

```javascript
const words = text.trim().split(/\\s+/);
console.log(`${words.length} words`);
```

## A quote

> The limits of my language mean the limits of my world.
>
> Ludwig Wittgenstein

## Mathematics, as code

```latex
e^{i\\pi} + 1 = 0
```

---

That is all. The raw text is yours too: use *Copy* below this answer.
"""
