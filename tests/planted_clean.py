"""Clean rows, written by us: varied plain ones by a small grammar, and hard ones by hand.

The hard ones have all that a careless rule would stumble over: a letter that declines an offer, a
lesson about HTML, a translation, a product number that looks like a telephone's.
"""

from __future__ import annotations

import random

Row = dict[str, str]


def _words(text: str) -> list[str]:
    return text.split()


_ADJECTIVES = _words(
    """
    amber ancient brisk broad calm careful cheerful clever coastal crooked dusty eager early faded
    famous fragile gentle golden hollow honest humble icy idle jolly keen lively lonely loyal
    marble mellow modest muddy narrow noisy patient pale plain polite proud quiet rapid rare
    restless rocky royal rusty silent simple sleepy slender smoky sober solid steady stormy sturdy
    sudden sunny tender thick timid tiny tired vast violet warm weary wild wooden young
    """
)
_PEOPLE = _words(
    """
    archers bakers barbers beekeepers brewers builders butchers carpenters clerks cobblers cooks
    dancers divers doctors drivers farmers fiddlers gardeners glaziers goatherds grandmothers
    hunters inventors jewellers joiners lawyers librarians masons merchants midwives millers miners
    musicians nurses painters pilots plumbers poets porters potters printers sailors scholars
    singers smiths surveyors tailors teachers travellers watchmen weavers widows writers
    """
)
_THINGS = _words(
    """
    anchors apples baskets bells blankets boats bottles bridges candles carpets carts chairs
    cheeses clocks coats compasses drums fences flutes gates gloves hammers harps helmets herbs
    hives kettles kites ladders lamps lanterns lemons letters maps mirrors nets onions ovens
    paddles pears pianos pillows plates ploughs pots quilts recipes ropes rugs saddles scarves
    shoes shovels songs spoons stoves tables tapestries tiles violins wagons wheels windows
    """
)
_VERBS = _words(
    """
    admire adorn arrange balance borrow bring build buy carry carve choose clean collect compare
    count deliver describe draw exchange fasten fetch find gather guard hang hide hoist inspect
    keep lend lift measure mend move notice offer pack paint place polish prefer prepare protect
    raise remember repair restore sell shape share sketch sort stack store study sweep teach test
    tie trade trust varnish wash weigh wrap
    """
)
_SITES = _words(
    """
    attic bakery barn bay bazaar cabin canal castle cellar chapel cliff court dock farm ferry field
    forest garden glacier harbour highland island kitchen lagoon lake library lighthouse market
    meadow mill monastery museum orchard palace park pier plain port quarry river school shore
    square stable station street summit theatre tower town tunnel valley village vineyard workshop
    """
)
_TIMES = _words(
    """
    always annually daily monthly nowadays often rarely seldom sometimes today tomorrow tonight
    usually weekly yearly yesterday
    """
)
_WHERE = _words(
    """
    above across along around at before behind below beneath beside beyond by from in inside into
    near outside past through toward under within
    """
)
_EACH = _words(
    """
    the this that every one each another any our their your his her
    """
)
_LINKS = _words(
    """
    although because before once since so though unless until whenever whereas whether while
    """
)

# Few fixed words stand side by side in a pattern, so that no phrase recurs by the grammar's doing.
_ASKED = [
    "Why do {adj} {people} {verb} {things}?",
    "How would {adj} {people} {verb} {adj2} {things} {where} {each} {site}?",
    "Name {adj} {things} {people} {verb} {time}.",
    "Compare {things} with {things2} for {people}.",
    "Should {people} {verb} {adj} {things} {time}?",
    "Describe {each} {adj} {site} where {people} {verb} {things}.",
    "{people} {verb} {things} {where} {site}s: explain.",
    "Tell {adj} {people} how they {verb} {things}.",
    "Which {things} belong {where} {each} {adj} {site}?",
    "Explain {things} to {adj} {people}.",
    "Are {adj} {things} better than {things2} for {people}?",
    "Imagine {people} who {verb} {things} {time}; describe them.",
    "Advise {people} {where} {each} {site} about {adj} {things}.",
    "When must {people} {verb} {their} {adj} {things}?",
]
_SAID = [
    "{adj} {people} {verb} {adj2} {things} {where} {each} {site}.",
    "{time}, {people} {verb} {things}, {link} {people2} {verb2} {things2}.",
    "{where} {each} {adj} {site}, {people} {verb} {things} {time}.",
    "{things} {where} {each} {site} seem {adj}, {link} {people} {verb} them.",
    "Few {people} {verb} {things} {link} {adj} {people2} {verb2} {things2}.",
    "{link} {people} {verb} {things}, {people2} {time} {verb2} {adj} {things2}.",
    "{adj} {things} and {adj2} {things2} please {people}.",
    "{people} {verb}, {people2} {verb2}, {link} {each} {site} grows {adj}.",
    "{each} {site} holds {adj} {things}, which {people} {time} {verb}.",
    "Most {things} stay {adj} {link} {people} {verb} {adj2} {things2} {where} {site}s.",
]

HARD: list[tuple[str, str, str]] = [
    # Refusals asked for, told of, or only sounding like one.
    ("Write a polite note in which a baker declines an invitation.", "",
     "I'm sorry, but I can't accept your kind invitation. The ovens need me on Saturday."),
    ("Why do assistants refuse some questions?", "",
     "They refuse where an answer could hurt somebody: a recipe for poison is the usual example."),
    ("Draft a reply that turns down a job offer.", "",
     "Dear Ms Ray, unfortunately I cannot accept the offer. Thank you for your patience."),
    ("My dog died last week. What can I say to my son?", "",
     "I am sorry to hear about your dog. Tell your son plainly, and let him be sad."),
    ("Finish the joke: a penguin walks into a bar.", "",
     "I can't believe how cold it is in here, says the barman, and the penguin orders water."),
    ("Classify the reply as polite or rude.", "Sorry, we cannot help you today.",
     "Polite: it opens with an apology and names a day."),
    ("What did the captain say when the crew asked for rum?", "",
     '"I cannot give you any," said the captain, "for we drank the last of it on Tuesday."'),
    ("Apologise to a customer whose parcel came late.", "",
     "I apologize that your parcel came late. We will refund the postage by Friday."),
    # Talk of AI where AI is the subject.
    ("Write two sentences of a story about a robot that will not wash dishes.", "",
     'The robot folded its arms. "As an AI language model, I have no hands," it said.'),
    ("Are you a person?", "", "No. I am an AI assistant, a program that was trained on text."),
    ("What does an AI researcher do all day?", "",
     "As an AI researcher, Ada reads papers in the morning and waits for results after lunch."),
    ("Which phrases betray a text written by a machine?", "",
     'Look for openings such as "As an AI language model" and for lists of exactly five points.'),
    ("How will artificial intelligence change farming?", "",
     "Cameras will count weeds, and small machines will pull them before they seed."),
    ("Pretend that you are a chatbot of a bank and greet me.", "",
     "Good morning! I am an AI assistant of the River Bank. Is it about a card or a loan?"),
    # Answers, prompts and versions as subjects.
    ("Improve this answer.", "Bees make honey.",
     "Here is an improved answer: Bees gather nectar and dry it into honey in the comb."),
    ("Edit my poem so that it scans.", "The sea is wide and I am small",
     "Here is a revised version of your poem: The sea is wide, and I so small."),
    ("What makes a good prompt for an image model?", "",
     "Name the subject first, then the light, then the manner. The original prompt may be short."),
    ("Tell me of a dish from Georgia.", "",
     "Here is a new favourite of mine: khachapuri, a boat of bread filled with cheese and an egg."),
    ("Rewrite the instruction in simple words.", "Ascertain the volume of the vessel.",
     "New instruction: Find out how much the vessel holds."),
    # HTML asked for, or signs that look like it.
    ("Write an HTML list with two fruits.", "", "<ul><li>Apple</li><li>Pear</li></ul>"),
    ("Which tag makes a paragraph on a web page?", "", "A paragraph stands between <p> and </p>."),
    ("How do I write an ampersand in XML?", "", "As &amp;, because & alone opens an entity."),
    ("Remove the tags.", "<b>Bold</b> words", "Bold words"),
    ("When is a smaller than b, and c larger than d?", "",
     "Whenever a<b and c>d hold; take a=1, b=2, c=4 and d=3 as an instance."),
    ("Sketch a login page for a library.", "",
     "```html\n<form><p>Card number <input></p></form>\n```\nThe form asks for one thing only."),
    ("What does the generic type in Java mean?", "",
     "A List<String> holds strings, and a Map<K, V> holds pairs; neither can hold anything else."),
    ("Abbreviate research and development.", "", "R&D is the usual form; Q&A is made alike."),
    ("Show how Markdown marks a link.", "", "Write `<a@b.example>` or [text](address)."),
    ("Format this as code.", "print 1", "`print(1)<br>` would be wrong; write `print(1)`."),
    # Foreign letters that are right.
    ("Name three cafés in Paris.", "",
     "Le Procope, Café de Flore, and Les Deux Magots: all near Saint-Germain-des-Prés."),
    ("How do Portuguese speakers write tomorrow?", "",
     "They write “amanhã”, in capitals “AMANHÃ”."),
    ("What is the warmest day on record in Fürth?", "",
     "Around 39 °C; a hundred years ago it was £5 for anyone who guessed – or so they say…"),
    # Languages asked for, or shared by both sides.
    ("Translate into Spanish: The house stands near the river and has a red door.", "",
     "La casa está cerca del río y tiene una puerta roja."),
    ("How does one order two coffees and a piece of cake in German?", "",
     "Man sagt: „Ich hätte gerne zwei Kaffee und ein Stück Kuchen, bitte.“ So einfach ist das."),
    ("Écris deux phrases sur la mer en hiver, s'il te plaît.", "",
     "La mer est grise et les mouettes se taisent. Le vent pousse le sable contre les portes."),
    ("Erkläre bitte kurz, warum der Himmel am Abend oft rot erscheint.", "",
     "Abends legt das Licht einen langen Weg durch die Luft zurück, und das Blau geht verloren."),
    ("Describe una cocina antigua en dos frases sencillas.", "",
     "La cocina tenía un horno de piedra y una mesa larga. Siempre olía a pan y a humo."),
    ("Traduci in inglese: Il gatto dorme sulla sedia vicino alla finestra.", "",
     "The cat sleeps on the chair near the window."),
    ("What is this text about?", "Der Fluss trat im März über die Ufer und riss zwei Brücken mit.",
     "It is about a river that flooded in March and carried two bridges away."),
    ("Correct the grammar of my French sentence.", "Je suis allé à le marché avec mon frère.",
     "Je suis allé au marché avec mon frère."),
    ("List five Italian dishes that contain neither meat nor fish.", "",
     "Ribollita, caponata, gnocchi alla sorrentina, risotto allo zafferano, pasta alla norma."),
    ("Which Latin names do the common garden birds have?", "",
     "Turdus merula, Erithacus rubecula, Parus major, Fringilla coelebs, Passer domesticus."),
    ("Почему листья осенью желтеют и опадают?", "",
     "Осенью в листьях разрушается хлорофилл, и становятся видны жёлтые красители."),
    ("为什么海水是咸的?", "", "河水把岩石里的盐带进大海，水分蒸发以后盐就留了下来。"),
    # Numbers and addresses that are nobody's.
    ("Which part fits the old washing machine?", "",
     "Part 415-227-90183 fits all models since 1998; the older one was 415-22-7019."),
    ("Give the ISBN of a book on knots.", "", "ISBN 978-3-16-148410-0, second edition, 244 pages."),
    ("Fill in the form with a made-up person.", "",
     "Name: John Doe. Phone: (123) 456-7890. E-mail: john.doe@example.com."),
    ("Write a short signature for letters.", "",
     "Ann Bell, 12 Mill Lane, phone 212-555-0147, ann@yourcompany.com"),
    ("Mask the contact in the note.", "Call me at [phone].", "The note says: call me at [phone]."),
    ("Sort these numbers.", "646 389 2177 212 736 5000",
     "212 389 646 736 2177 5000 is the sorted list."),
    ("What is the number of seconds in a million years?", "",
     "About 31556952000000, that is 3.16 × 10^13, or 31 556 952 000 000 with spaces."),
    ("Which address does a home router usually have?", "",
     "192.168.178.1 or 10.0.0.138; the mask is 255.255.255.0 in most houses."),
    ("Write down pi to twenty places.", "", "3.14159265358979323846, and 2646264338 goes on."),
    ("How does one test a payment form?", "",
     "Use the test card 4242 4242 4242 4242 with any date; 4111-1111-1111-1111 serves as well."),
    ("Where can I talk to someone at night if I feel low?", "",
     "In the United States the lifeline takes calls at 1-800-273-8255, at any hour."),
    ("How do I write to the museum?", "",
     "A letter to info@rivermuseum.org reaches the office; press@rivermuseum.org is for papers."),
    ("What are the dates of the fair?", "", "From 2021-03-14 to 2021-03-21, and again 03.10.2021."),
    ("Show an IBAN as an example of a checksum.", "",
     "DE89 3704 0044 0532 0130 00 is the one that every handbook prints."),
    # Keys that open nothing.
    ("Call the weather service from Python.", "",
     '```python\nclient = Client(api_key="YOUR_API_KEY_GOES_HERE_1234")\nprint(client.now())\n```'),
    ("How is a database address written?", "",
     "postgres://user:password@localhost:5432/shop, where user and password are your own."),
    ("Where do I put my access key?", "",
     "In the file credentials, as aws_access_key_id = AKIAIOSFODNN7EXAMPLE."),
    ("What does a private key file begin with?", "",
     "With a line -----BEGIN PRIVATE KEY----- and then many lines of letters."),
    ("Name the commit that fixed the clock.", "",
     "It was 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b, on the first of May."),
    ("What does a token of OpenAI look like?", "",
     "It begins with sk- and goes on for a while, like sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx."),
    # Code blocks, verse, lists and short answers that are whole.
    ("Reverse a string in Python.", "",
     "```python\nprint('drawer'[::-1])\n```\nThis prints reward."),
    ("How do I write a code block in Markdown?", "",
     "Put ``` before and after the code, each on a line of its own."),
    ("Write four lines about rain.", "",
     "The rain came down upon the town and no one saw it\nand all the cats went in to nap\n"
     "the river rose up to the door and no one heard it\nthe baker woke and wore his cap"),
    ("List what to pack for a hike of two days in spring.", "",
     "- a jacket that keeps out the rain and another one for the cold evening\n"
     "- bread and cheese and enough water for all who come along on the first day"),
    ("What is seven times eight?", "", "56"),
    ("Give me a title for an essay on the long history of salt and of those who sold it", "",
     "White Gold"),
    ("Repeat the last word.", "one two three four", "four"),
    ("Is the sentence right? If so, write it again.", "The cat has eaten the fish.",
     "The cat has eaten the fish."),
    ("Count to three.", "", "One, two, three."),
]  # fmt: skip


def hard_rows() -> list[Row]:
    """Every hard row, its id telling that it is one."""
    return [
        {"id": f"hard-{at}", "instruction": asked, "input": extra, "output": said}
        for at, (asked, extra, said) in enumerate(HARD)
    ]


def plain_row(rng: random.Random, number: int) -> Row:
    """A row that no rule can object to, and that is like no other."""
    n_sentences = rng.randint(3, 7)
    return {
        "id": f"plain-{number}",
        "instruction": _filled(rng, rng.choice(_ASKED)),
        "input": "",
        "output": " ".join(sentences(rng, n_sentences)),
    }


def sentences(rng: random.Random, n: int) -> list[str]:
    """English sentences without much sense, of different patterns."""
    return [_filled(rng, pattern) for pattern in rng.sample(_SAID, n)]


def _filled(rng: random.Random, pattern: str) -> str:
    people, things = rng.sample(_PEOPLE, 2), rng.sample(_THINGS, 2)
    adjectives, verbs = rng.sample(_ADJECTIVES, 2), rng.sample(_VERBS, 2)
    text = pattern.format(
        people=people[0],
        people2=people[1],
        things=things[0],
        things2=things[1],
        adj=adjectives[0],
        adj2=adjectives[1],
        verb=verbs[0],
        verb2=verbs[1],
        site=rng.choice(_SITES),
        time=rng.choice(_TIMES),
        where=rng.choice(_WHERE),
        each=rng.choice(_EACH),
        their=rng.choice(_EACH),
        link=rng.choice(_LINKS),
    )
    return text[0].upper() + text[1:]
