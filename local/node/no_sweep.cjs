// Loaded before Azurite where it keeps everything in memory. Ten minutes after its start Azurite removes what no blob
// refers to any more, one piece after the other, each by a search of them all, and answers nobody meanwhile: 85 seconds
// for 6,000 pieces, on a busy machine. A test whose storage falls silent for so long fails, so the sweep is put off.
const path = require("node:path");

const DAY = 24 * 60 * 60 * 1000;
require(path.join(path.dirname(process.argv[1]), "blob/utils/constants.js")).DEFAULT_GC_INTERVAL_MS = DAY;
