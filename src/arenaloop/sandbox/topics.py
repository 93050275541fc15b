"""What the notes of the sandbox are about: topics without an article, and what anyone might say of each."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FACTS", "TOPICS"]

_TRAIN = """
bees: make honey from nectar; dance to tell where flowers are; live in large colonies
rain: fills rivers and lakes; smells fresh on dry ground; helps crops to grow
bread: rises with yeast; tastes best when warm; fills homes with its smell
chess: trains patience; rewards careful plans; ends with checkmate
volcanoes: build new land from lava; can sleep for centuries; warm hidden lakes
trains: carry thousands to work; run on steel rails; cross mountains through tunnels
coffee: wakes tired minds; grows in warm highlands; tastes bitter without sugar
libraries: lend books to everyone; keep old maps safe; stay quiet all day
owls: hunt mice at night; turn their heads far around; fly without a sound
gardens: need water and light; attract butterflies; change with every season
mountains: catch snow in winter; shape local weather; draw climbers from afar
music: lifts our mood; joins strangers in song; lives in every culture
bicycles: save fuel; keep riders fit; fit through narrow streets
cheese: ages in cool cellars; melts over toast; begins as milk
dolphins: speak with clicks; swim in close groups; sleep with half a brain
snow: muffles sounds; falls in six-sided flakes; covers roofs like a blanket
markets: sell fruit at dawn; smell of fresh spice; bring neighbours together
clocks: tick through long nights; divide days into hours; once ran on water
forests: store carbon in wood; shelter shy deer; cool nearby towns
spiders: weave strong webs; feed on flies; carry eggs in silk bags
bridges: span wide rivers; carry heavy loads; sway a little in wind
salt: keeps food from spoiling; makes soup taste better; comes from mines and seas
poetry: plays with rhythm; says much with few words; survives by being read aloud
whales: sing across oceans; feed on tiny krill; rise to breathe air
kites: dance on spring winds; need a steady breeze; pull hard at their strings
soup: warms cold hands; simmers for hours; uses up leftover vegetables
wolves: hunt in packs; howl to find friends; roam over wide lands
paper: comes from wood pulp; folds into cranes; carries letters across borders
football: fills stadiums on weekends; teaches teamwork; needs only one ball
stars: shine by nuclear fusion; guide sailors home; form patterns at night
tea: calms busy minds; steeps in hot water; pairs well with biscuits
rivers: carve deep valleys; carry mud to deltas; power old mills
cats: nap most of their lives; purr when content; land on their feet
cities: glow after sunset; grow along rivers; offer work for many
honey: never spoils; sweetens warm milk; soothes sore throats
robots: weld cars in factories; explore distant planets; follow written rules
ships: carry grain between ports; float on deep water; need skilled crews
wind: turns tall turbines; scatters seeds; shapes desert dunes
potatoes: grow under ground; fry into crisp chips; feed whole nations
mirrors: swap left for right; make small rooms look bigger; reflect almost all light
"""
_DEV = """
apples: ripen in autumn; float in water; bake into sweet pies
castles: guard old borders; crumble with time; hide narrow stairs
penguins: slide on their bellies; share care of chicks; swim faster than people
theatre: tells stories live; needs good timing; opens when curtains rise
deserts: freeze after sunset; bloom after rare rains; hide clever lizards
pianos: hold heavy strings; need regular tuning; fill halls with sound
rice: grows in flooded fields; feeds half our planet; cooks in minutes
lighthouses: warn ships of rocks; flash in patterns; stand on lonely cliffs
horses: gallop over plains; sleep standing up; trust gentle riders
glaciers: creep downhill; grind rock into dust; store fresh water
candles: burn down slowly; smell of warm wax; flicker in drafts
museums: preserve strange objects; welcome school classes; teach without lessons
frogs: breathe through skin; start life as tadpoles; sing near ponds
maps: show hidden paths; flatten a round planet; age as borders move
wool: keeps heat close; takes dye well; grows on sheep
tomatoes: love sunny walls; count as fruit; thicken sauces
dreams: visit us while asleep; fade after breakfast; mingle distant memories
elephants: remember old paths; greet friends with trunks; mourn their dead
airports: never fully sleep; sort bags by machine; connect far cities
ice: floats on water; cracks under weight; cools summer drinks
"""
_TEST = """
chocolate: melts in warm hands; grows as cocoa beans; lifts sad moods
ants: carry heavy crumbs; follow scent trails; farm tiny aphids
thunder: follows lightning; rolls over hills; scares many dogs
schools: shape young minds; ring bells at noon; plant lasting friendships
rainbows: appear after showers; bend sunlight in drops; hold seven colours
camels: store fat in humps; cross dry lands; close their nostrils in storms
violins: sing under a bow; need rosin; come from maple and spruce
beaches: wear away in storms; collect pretty shells; draw summer crowds
mushrooms: spread by spores; grow after rain; feed on fallen wood
newspapers: arrive before breakfast; report local events; line old drawers
turtles: carry hard shells; outlive many people; bury eggs in sand
fire: turns wood to ash; cooks our food; needs air to burn
parks: offer shade in summer; host picnics; invite joggers at dawn
oranges: peel easily; ripen in winter; hold plenty of juice
satellites: circle our planet; relay phone calls; watch storms form
moss: softens old stones; drinks mist; grows without roots
pottery: begins as wet clay; hardens in kilns; records ancient meals
storms: bend tall trees; flood low roads; clear dusty air
puppies: chew old shoes; learn by playing; follow children everywhere
lemons: taste very sour; clean copper pots; brighten fish dishes
"""


def _read(lines: str) -> dict[str, tuple[str, ...]]:
    pairs = (line.partition(": ") for line in lines.strip().splitlines())
    return {topic: tuple(facts.split("; ")) for topic, _, facts in pairs}


_BY_SPLIT = {"train": _read(_TRAIN), "dev": _read(_DEV), "test": _read(_TEST)}

TOPICS: Mapping[str, tuple[str, ...]] = {split: tuple(topics) for split, topics in _BY_SPLIT.items()}
"""The topics of each split, which share none."""

FACTS: Mapping[str, tuple[str, ...]] = {topic: facts for each in _BY_SPLIT.values() for topic, facts in each.items()}
"""Three facts of each topic: what follows its name in a sentence."""
