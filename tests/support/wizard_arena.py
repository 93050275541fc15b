"""The published leaderboards of Arena Learning's test sets and of the reference that they are held against."""

from __future__ import annotations

from arenaloop.ratings.agreement import Scored

# Model | LMSYS reference | Diverse | Hard, each score +plus -minus (arXiv 2407.10627v1, main table). GPT-4o's row
# stands in for one that the paper shows in a figure: any value on top of all three lists gives the same results.
ARENA_LEARNING = """
GPT-4o|1287 3 3|1420 5 5|1420 5 5
Claude 3.5 Sonnet|1246 4 7|1389 5 6|1378 6 6
Gemini 1.5 Pro|1235 5 4|1383 6 5|1373 5 5
GPT-4-1106-Preview|1232 3 4|1369 3 5|1376 6 4
Llama-3-70B-Instruct|1227 3 3|1366 5 5|1354 6 5
Command R+|1163 4 4|1351 9 6|1327 8 6
Claude 3 Haiku|1158 4 3|1340 4 5|1345 5 5
Qwen1.5-72B-Chat|1135 3 4|1332 9 7|1312 7 5
Qwen1.5-32B-Chat|1109 4 5|1298 7 8|1276 5 8
Starling-LM-7B-beta|1108 5 5|1275 6 4|1270 6 5
WizardLM-70B|1098 7 6|1184 6 6|1163 6 5
Llama-2-70B-Chat|1097 5 4|1100 0 0|1100 0 0
Tulu-2-DPO-70B|1091 8 10|1147 8 6|1181 5 6
Vicuna-33B|1086 6 5|1113 5 7|1076 7 5
Nous-Hermes-2-Mixtral|1078 9 8|1107 8 6|1121 7 7
OpenChat-3.5|1065 9 10|1042 7 5|1050 8 5
DeepSeek-67B|1065 12 10|991 7 7|1008 5 7
Llama-2-13B-Chat|1061 5 6|1052 5 6|1041 7 7
GPT-3.5-1106|1052 5 5|955 6 7|1004 6 7
Zephyr-7B-alpha|1040 17 13|905 7 6|967 6 8
Vicuna-13B|1029 6 5|934 6 7|923 8 5
Qwen-14B-Chat|1017 9 10|916 5 7|932 6 8
Mistral-7B-Instruct-v0.1|1009 7 7|883 6 7|904 6 9
"""


def wizard_arena() -> tuple[dict[str, Scored], dict[str, Scored], dict[str, Scored]]:
    """Reference, Offline-Diverse and Offline-Hard, by model."""
    boards: tuple[dict[str, Scored], dict[str, Scored], dict[str, Scored]] = ({}, {}, {})
    for line in ARENA_LEARNING.strip().splitlines():
        name, *cells = line.split("|")
        for board, cell in zip(boards, cells, strict=True):
            score, plus, minus = map(float, cell.split())
            board[name] = Scored(score, score - minus, score + plus)
    return boards
