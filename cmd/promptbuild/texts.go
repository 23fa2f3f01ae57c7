package main

// entry is a prompt as a person reads it; speakable turns it into what the engine
// reads right.
type entry struct{ id, text string }

// texts are the built-in prompts in Mandarin.
var texts = []entry{
	{"greeting", "您好，安铃养老服务热线，正在为您接通。"},
	{"queue.wait", "接线员都在忙，请不要挂机，我们会尽快接听。"},
	{"queue.position", "您的来电正在排队，请不要挂机。"},
	{"queue.ahead", "您前面还有"},
	{"queue.callback", "等候时间较长。需要我们给您回电，请按1；继续等候，请不要挂机。"},
	{"comfort.hold", "请稍等，不要挂机。"},
	{"comfort.relost", "请不要挂断，正在重新接通。"},
	{"sos.received", "已收到您的呼救，请不要挂机。"},
	{"sos.coming", "救助人员正在赶来，请不要着急。"},
	{"silent.ask", "您能听到吗？能听到请按任意键，或者敲一敲电话。"},
	{"operator.whisper.p1", "SOS，请立即接听。"},
	{"operator.whisper", "热线来电。"},
	{"record.notice", "为了保障您的权益，本次通话将被录音。"},
	{"night.notice", "现在是夜间服务时间，紧急情况请直接说明。"},
	{"transfer.announce", "正在为您转接，请稍候。"},
	{"transfer.120", "正在为您转接120急救中心，请不要挂机。"},
	{"conference.join", "有新的通话人加入。"},
	{"callback.ours", "您好，这里是安铃养老服务热线，您刚才来过电话，正在为您接通接线员。"},
	{"callback.sos", "您好，这里是安铃呼叫中心，收到了您的呼救，正在为您接通接线员。"},
	{"robot.job", "安铃呼叫中心，附近有老人需要帮助。接单按1，拒绝按2，重听按3。"},
	{"robot.accepted", "接单成功，请尽快前往。详细地址请看手机。"},
	{"robot.refused", "已记录，谢谢。"},
	{"robot.taken", "已有人接单，谢谢您。"},
	{"robot.again", "没有收到按键。接单请按1，拒绝请按2，重听请按3。"},
	{"family.safe", "您好，您的家人已经得到帮助，情况平稳，请放心。"},
	{"order.confirm", "您的服务已经预约成功。"},
	{"order.done", "您的服务已经完成，谢谢。"},
	{"rate.ask", "请为本次服务打分，满意请按1，一般请按2，不满意请按3。"},
	{"rate.thanks", "感谢您的评价。"},
	{"invalid.key", "按键无效，请重新输入。"},
	{"busy", "现在线路繁忙，我们会尽快给您回电。"},
	{"training.notice", "这是一次演练。"},
	{"goodbye", "谢谢您的来电，再见。"},
	{"digit.0", "零"}, {"digit.1", "一"}, {"digit.2", "二"}, {"digit.3", "三"}, {"digit.4", "四"},
	{"digit.5", "五"}, {"digit.6", "六"}, {"digit.7", "七"}, {"digit.8", "八"}, {"digit.9", "九"},
	{"digit.10", "十"}, {"digit.two", "两"}, {"digit.yao", "幺"},
	{"unit.people", "位。"}, {"unit.minutes", "分钟。"}, {"unit.room", "室。"}, {"unit.floor", "楼。"},
}

// polyphones are words whose reading the engine gets wrong, with the right one in
// pinyin and tone digits.
var polyphones = map[string]string{
	"银行": "yin2 hang2",
	"重新": "chong2 xin1",
	"重听": "chong2 ting1",
	"重庆": "chong2 qing4",
	"长大": "zhang3 da4",
	"校长": "xiao4 zhang3",
	"着急": "zhao2 ji2",
	"尽快": "jin3 kuai4",
}
