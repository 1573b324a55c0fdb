import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;

/** One GET with HttpURLConnection, which takes its proxy from system properties only. */
public final class GetUrlConnection {
    public static void main(String[] args) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) URI.create(args[0]).toURL().openConnection();
        if (connection.getResponseCode() != 200) {
            throw new IllegalStateException("status " + connection.getResponseCode());
        }
        try (InputStream body = connection.getInputStream()) {
            System.out.print(new String(body.readAllBytes()));
        }
    }
}
