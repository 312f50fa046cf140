// Microsoft's own KQL parser and binder, as a filter. Takes {folder, tables: {name: columns}, queries: {name: text}} on
// standard input, gives {name: [errors and warnings]} on standard output.
const fs = require("fs");
const vm = require("vm");
const path = require("path");

const { folder, tables, queries } = JSON.parse(fs.readFileSync(0, "utf8"));
for (const name of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  const file = path.join(folder, "node_modules", "@kusto", "language-service-next", name);
  vm.runInThisContext(fs.readFileSync(file, "utf8"), { filename: file });
}
const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language;

const known = Object.entries(tables).map(([name, columns]) => Symbols.TableSymbol.From(columns).WithName(name));
const state = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor1("workspace", known));

const found = {};
for (const [name, text] of Object.entries(queries)) {
  const said = KustoCode.ParseAndAnalyze(text, state).GetDiagnostics();
  found[name] = [];
  for (let index = 0; index < said.Count; index++) {
    const { Severity, Message, Start, Length } = said.getItem(index);
    if (Severity === "Error" || Severity === "Warning") {
      found[name].push(`${Severity}: ${Message} At: ${text.substr(Start, Math.max(Length, 20))}`);
    }
  }
}
console.log(JSON.stringify(found));
