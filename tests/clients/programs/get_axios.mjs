// One GET with axios, settings from the environment.
import axios from 'axios';

const { data } = await axios.get(process.argv[2], { responseType: 'text' });
process.stdout.write(data);
