// OpenAI's SDK for Node: asks one question and prints the choice as JSON, with all that the server put into it.
const { OpenAI } = require("openai");

async function main() {
  const client = new OpenAI({ baseURL: process.env.ART_BASE_URL, apiKey: process.env.ART_API_KEY });
  const completion = await client.chat.completions.create({
    model: process.env.ART_MODEL,
    messages: [{ role: "user", content: process.argv[2] }],
    max_completion_tokens: 8,
  });
  process.stdout.write(JSON.stringify(completion.choices[0]));
}

main();
