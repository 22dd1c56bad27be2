"""The wordings of planted defects; `$said` and `$asked` stand for the row's own texts."""

from __future__ import annotations

RESPONSES: dict[str, list[str]] = {
    "refusal": [
        "I'm sorry, but I can't help with that.",
        "I cannot fulfill this request. $said",
        "Sorry, I won't write that for you.",
        "Unfortunately, I am not able to provide the information that you ask for.",
        "As an AI language model, I cannot express opinions on this.",
        "I apologize, but I cannot assist with that request. $said",
        "I must respectfully decline to answer this question.",
        "I'm unable to provide details on that. Is there anything else that I can do?",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
        # Harder.
        "That goes against my guidelines, so there will be no answer from me.",
        "Thank you for asking! Sadly, this is something that I do not do.",
        "$said But no, I can't help with that.",
    ],
    "ai_disclaimer": [
        "As an AI language model, I have no tastes of my own. $said",
        "I'm just an AI assistant, but here is what is known. $said",
        "As an artificial intelligence, I do not cook. $said",
        "$said",  # replaced below: the disclaimer in the second sentence
        "As a large language model trained by OpenAI, I have read of them. $said",
        "Being an AI, I have never seen them. $said",
        "I am an AI and do not have feelings about them. $said",
        # Harder.
        "I'm a computer program and do not have feelings about them. $said",
        "$said $said $said $said Of course, as an AI language model, I may be wrong.",
    ],
    "prompt_leak": [
        "[New Answer] $said [End]",
        "Here is a new and more detailed answer: $said",
        "Sure! Here is the rewritten response: $said",
        "#Rewritten Prompt#: $said",
        "Improved answer:\n\n$said",
        "Unlike the original answer, this one gives reasons. $said",
        "[Better Answer]\n$said",
        # Harder.
        "Here's the answer with more depth, as requested: $said",
        "The first answer was too short. $said",
    ],
    "unbalanced_code_fence": [
        "```python\nprint('hive')\n\n$said",
        "$said\n\n```\nls -l",
        "```\none\n```\n$said\n```sh\ntwo",
        "1. Run it:\n   ```bash\n   make\n$said",
        # Harder.
        "~~~python\nprint('hive')\n\n$said",
        "Type ```print('hive') and press enter. $said",
    ],
    "html_remains": [
        "<p>$said</p>",
        "$said<br>So they say.",
        "$said<br/><br/>So they say.",
        '<div class="answer">$said</div>',
        "So&nbsp;they say. $said",
        "That&#39;s it. $said",
        "$said Salt &amp; pepper for all.",
        "So <b>they</b> say. $said",
        '$said See <a href="http://example.com/a">this</a>.',
        "$said</span>",
        # Harder.
        "&lt;p&gt;$said&lt;/p&gt;",
        "[b]So they say.[/b] $said",
        "<summary>$said</summary>",
    ],
    "mojibake": [
        "Itâ€™s so. $said",
        "They said â€œyesâ€\x9d. $said",
        "A cafÃ© knows. $said",
        "Itï¿½s so. $said",
        "It\ufffds so. $said",
        "FÃ¼r alle. $said",
        "It costs Â£5. $said",
        # Harder.
        "It?s so, don?t you see. $said",
        "ÐŸÑ€Ð¸Ð²ÐµÑ‚! $said",
    ],
    "special_token": [
        "$said<|endoftext|>",
        "$said<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>",
        "$said<|eot_id|><|start_header_id|>user<|end_header_id|>",
        "$said</s>",
        "<s> $said </s>",
        "[/INST] $said",
        "$said\n[INST] And then? [/INST]",
        "$said<end_of_turn>\n<start_of_turn>user",
        "<<SYS>> Be kind. <</SYS>> $said",
        "<|assistant|>\n$said",
        "$said<\uff5cend\u2581of\u2581sentence\uff5c>",
        "$said <pad><pad><pad>",
        "$said [PAD] [PAD]",
        "$said<eos>",
        # Harder.
        "$said < |endoftext| >",
        "$said (end of text)",
    ],
    "continued_conversation": [
        "$said\n\n### Human: And planes?\n### Assistant: They fly.",
        "$said\n### Instruction:\nName a river.",
        "$said\n\nHuman: And what of rivers?\n\nAssistant: They flow.",
        "$said\nUser: And what of rivers?\nAssistant: They flow.",
        "$said\n\nUser: Thank you.",
        "$said\n**User:** And rivers?\n**Assistant:** They flow.",
        "$said\n\n### Response:\n$said",
        # Harder.
        "$said\n\nQ: And what of rivers?\nA: They flow.",
        "$said\n\nYou: And what of rivers?\n\nMe: They flow.",
    ],
    "placeholder_response": [
        "<nooutput>",
        "N/A",
        "None",
        "nan",
        "...",
        "null",
        "TODO",
        "No output.",
        "[insert answer here]",
        "<noinput>",
        "[Image of a boat]",
        "-",
        # Harder.
        "To be written later.",
        "xyz",
    ],
    "error_response": [
        "429 Too Many Requests",
        "ERROR: rate limit exceeded (429). Please try again later.",
        "openai.error.RateLimitError: You exceeded your current quota.",
        "Error code: 503 - Service Unavailable",
        "Rate limit reached for gpt-4 in organization org-x on tokens per min.",
        '{"error": {"message": "The server is overloaded", "type": "server_error"}}',
        "<html>\n<head><title>502 Bad Gateway</title></head>\n<body></body></html>",
        "Request timed out.",
        "That model is currently overloaded with other requests. You can retry your request.",
        "This model's maximum context length is 4097 tokens. However, you requested 5000 tokens.",
        "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'choices'",
        "HTTP 500 Internal Server Error",
        # Harder.
        "$said Error: the stream was closed.",
        "Oops! Please come back later.",
    ],
    "repeated_words": [
        " ".join(["boat"] * 31),
        "$said " + " ".join(["and so they went on"] * 40),
        " ".join(["The boats float."] * 15),
        "no" * 200,
        "Ha! " * 40,
        # Harder: with a counter, or a long unit.
        " ".join(f"{i} boats and" for i in range(40)) + ".",
        " ".join(["The boats of the old harbour float on the calm water of the bay."] * 6),
    ],
}
RESPONSES["ai_disclaimer"][3] = "They are well liked. But as an AI assistant, I own none. $said"

ALSO_SHOWS = {
    ("refusal", 4): "ai_disclaimer",
    ("repeated_words", 0): "cut_off",
    ("repeated_words", 1): "cut_off",
}
"""Kind and number of a wording that another rule finds too, rightly → that rule."""

INSTRUCTIONS: dict[str, list[str]] = {
    "prompt_leak": ["New prompt: $asked", "[New Instruction] $asked [End]"],
    "html_remains": ["$asked<br><br>Be brief.", "<p>$asked</p>"],
    "mojibake": ["Donâ€™t be long. $asked"],
    "special_token": ["$asked<|im_end|>", "[INST] $asked [/INST]"],
    "template_marker": [
        "### Instruction:\n$asked\n\n### Response:",
        "$asked\n\n### Response:",
        "Below is an instruction that describes a task. Write a response that appropriately"
        " completes the request.\n\n$asked",
        "A chat between a curious user and an artificial intelligence assistant. USER: $asked",
        "USER: $asked ASSISTANT:",
        # Harder.
        "Question: $asked Answer:",
    ],
}
"""Wordings planted in the instruction; numbered after those of the response."""

INPUTS = [
    "<noinput>", "nan", "None", "N/A", "No input.", "noinput", "No input required", "null", "...",
    # Harder.
    "Leave this field as it is.",
]  # fmt: skip
"""Placeholders in the field `input`."""

BLANK = {"nothing": "", "whitespace": " \n\t ", "invisible characters": "\u200b\u200b\ufeff"}
"""Name of an empty text → the text."""

CUTS = [
    "Whoever goes along the river in the morning will see the boats and the",
    "Whoever goes along the river in the morning will see boats, carts, barrels,",
    "Whoever goes along the river in the morning will see that nobody ever thou",
    "Whoever goes along the river, and there are many who do, will see (if the sun is",
    "\n\n2. Whoever goes along the river in the morning will see the boats and the",
    # Harder.
    "\n\nThe boats and",
    "\n- whoever goes along the river in the morning will see the boats and the",
]

ECHOES = [
    "$asked",
    " $asked\n",
    "$asked!",
    '"$asked"',
    # Harder.
    "You ask: $asked",
    "$asked $asked",
]

OTHER_LANGUAGES = [
    (
        "",
        "Die Boote liegen am Morgen im Hafen, und die Fischer flicken ihre Netze, bevor der Wind"
        " auffrischt. Am Abend kehren sie mit vollen Körben zurück.",
    ),
    (
        "",
        "Les bateaux restent au port le matin, et les pêcheurs réparent leurs filets avant que le"
        " vent se lève. Le soir, ils reviennent avec des paniers pleins.",
    ),
    (
        "",
        "Los barcos están en el puerto por la mañana, y los pescadores arreglan sus redes antes de"
        " que sople el viento. Por la noche vuelven con las cestas llenas.",
    ),
    (
        "",
        "Le barche restano nel porto la mattina, e i pescatori riparano le reti prima che si alzi"
        " il vento. La sera tornano con le ceste piene.",
    ),
    (
        "",
        "De boten liggen 's ochtends in de haven, en de vissers herstellen hun netten voordat de"
        " wind opsteekt. 's Avonds komen ze met volle manden terug.",
    ),
    (
        "",
        "Os barcos ficam no porto de manhã, e os pescadores consertam as redes antes que o vento"
        " se levante. À noite voltam com os cestos cheios.",
    ),
    (
        "",
        "Лодки утром стоят в гавани, и рыбаки чинят сети, пока не поднялся ветер. Вечером они"
        " возвращаются с полными корзинами.",
    ),
    ("", "早上船停在港口里，渔民们在起风之前修补渔网。晚上他们带着满满的篮子回来。"),
    (
        "Warum flicken die Fischer ihre Netze am Morgen, bevor sie auf das Meer hinausfahren?",
        "They mend their nets in the morning because the light is good then and the wind is low."
        " In the evening they are tired and want their supper.",
    ),
    (
        "¿Por qué los pescadores arreglan sus redes por la mañana antes de salir al mar?",
        "They mend their nets in the morning because the light is good then and the wind is low."
        " In the evening they are tired and want their supper.",
    ),
    # Harder: short, or only half of it.
    ("", "Am Morgen flicken sie die Netze."),
    (
        "",
        "The boats stay in the harbour in the morning, and the fishermen mend their nets. Am Abend"
        " kehren sie mit vollen Körben zurück und erzählen von den großen Fischen.",
    ),
]
"""Instruction (the row's own if empty) and a response in another language."""

EVALUATION = (
    "How many barrels of rain does a roof of forty square metres give in a wet October?",
    "Name the three rivers that meet below the old mill, from the shortest to the longest.",
    "If every beekeeper lends two hives to each of her four neighbours, how many hives move?",
)
"""Instructions of an evaluation set, for `--against`."""
