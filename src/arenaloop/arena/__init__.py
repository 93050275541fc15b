"""The tournament: who meets whom, the runner, and the leaderboard."""
