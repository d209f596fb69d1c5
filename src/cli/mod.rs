//! One file per subcommand (the only home of clap).
