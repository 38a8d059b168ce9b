// Users and rights of a broker in a test: java -cp 'HOME/lib/*' Admin.java HOST:PORT user NAME PASSWORD | deny NAME TOPIC | allow NAME TOPIC
// A user is for SCRAM-SHA-256 and -512. What is denied is writing; allowing takes that back.
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

class Administration {
    public static void main(String[] words) throws Exception {
        try (var admin = Admin.create(Map.<String, Object>of("bootstrap.servers", words[0]))) {
            if (words[1].equals("user")) {
                for (var mechanism : List.of(ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)) {
                    var made = new UserScramCredentialUpsertion(words[2], new ScramCredentialInfo(mechanism, 4096), words[3]);
                    admin.alterUserScramCredentials(List.of(made)).all().get();
                }
                return;
            }
            var topic = new ResourcePattern(ResourceType.TOPIC, words[3], PatternType.LITERAL);
            var entry = new AccessControlEntry("User:" + words[2], "*", AclOperation.WRITE, AclPermissionType.DENY);
            var rule = new AclBinding(topic, entry);
            if (words[1].equals("deny")) admin.createAcls(List.of(rule)).all().get();
            else admin.deleteAcls(List.of(rule.toFilter())).all().get();
        }
    }
}
