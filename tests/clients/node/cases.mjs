// What every client is asked, and the tool that it may call.

export const MODEL = "claude-sonnet-5-5";
export const HELLO = "Say hello.";
export const ASK = "How warm is it in Oslo?";
export const READ = "Read: Oslo, 21 degrees.";
export const getWeather = ({ city }) => ({ Oslo: "21 degrees" })[city];
