"""Seeds that once found something: run for ever, in every check of everything."""

KEPT: dict[int, str] = {
    5: "Kraken's counter was spent on trades asked for pair by pair",
    8: "questions before their answers could decide, and then none left",
    27: "one cut of a private stream was asked about twice",
    53: "a task of the router died and took all others with it",
    78: "an old answer about maintenance was believed more than the stream",
    150: "halts that ended while connections were changed lasted for ever",
    161: "the same question twice while the first waited for its turn",
    280: "Bybit's ban for one connection too many outlasts the storm",
    286: "five orders of unknown fate at once where questions are dear",
    580: "what died while a connection retired was seen by nobody",
    828: "a tick that became coarser took a whole beyond the money given, and the gate shut all",
    934: "what one venue lied about was found out with another's trade",
}
